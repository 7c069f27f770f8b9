"""Views: cache trees that hang on the store, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from envforge.model.models import LinkMode, Repo

ViewLayout = Literal["hub", "flat"]
"""`hub`: a cache tree of huggingface_hub; `flat`: the one folder of transformers before 4.22."""
VariableFormat = Literal["sh", "fish", "powershell", "docker", "systemd", "env-file"]
VARIABLE_FORMATS: Final[tuple[VariableFormat, ...]] = get_args(VariableFormat)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ViewedModel:
    """One repository at one commit, as a view shows it."""

    repo: Repo
    commit: str
    revision: str
    """What was asked for: the view has a ref of this name, unless it is a commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredView:
    """What the store knows of a view that hangs on it."""

    path: str
    """Absolute."""
    owner: int
    """Numeric user id of whoever uses it, and owns its folders."""
    environment: str = ""
    """Name of the environment it is for; empty: none."""
    source: str = ""
    """That environment's folder, absolute; empty: none."""
    layout: ViewLayout = "hub"
    hub: str = ""
    """Address of the hub, without credentials, that the names in a flat view are made of."""
    models: tuple[ViewedModel, ...] = ()
    """Sorted."""
    modes: Mapping[str, LinkMode] = field(default_factory=dict)
    """sha256 to how the view got the file: copies take space of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewResult:
    """What making, or refreshing, a view came to."""

    path: str
    layout: ViewLayout
    owner: int
    environment: str
    models: tuple[ViewedModel, ...]
    files: int
    """Names under which the view shows files."""
    placed: int
    """Blobs that were linked or copied now; the rest was there."""
    removed: int
    """Blobs and names that an earlier lock had put there."""
    modes: Mapping[LinkMode, int]
    """How many blobs there are of each kind."""
    copied_bytes: int
    """What reflinks and copies would take on their own; 0 where all are hardlinks."""
    why_copied: str = ""
    """The reason, where not all are hardlinks."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as commits that compete for `main`."""
    registered: bool = True
    """Whether the store knows of it; only who may write the store can tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewVariables:
    """What makes clients use a view."""

    view: str
    flat: str = ""
    """The flat view beside it, for transformers before 4.22; empty: none."""
    variables: Mapping[str, str]
