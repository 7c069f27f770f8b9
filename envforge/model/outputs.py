"""What is written around an environment (images, clusters, scripts), and from what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

FieldKind = Literal["text", "path", "image", "number", "size", "choice", "name"]
Answers = Mapping[str, str]
"""A value for each field of an output."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SubjectModel:
    """A model of the environment, at its commit."""

    repo: str
    """As a person writes it: `org/name`, `dataset:org/name`."""
    commit: str
    size: int
    """Bytes of its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One environment on one platform: everything that a template may use as `env`.

    The same lock gives the same subject on every machine: nothing of a host is in it.
    """

    name: str
    """Of the environment: `nlp-bert-torch20-cu118`."""
    platform: str
    """Conda's name: `linux-64`."""
    digest: str
    """SHA-256, in hexadecimal, over all that an install takes from the lock on this platform."""
    models_digest: str
    """SHA-256 over the models' commits and files; empty: it has none."""
    python: str
    """`3.10.14`; empty: it has none."""
    torch: str
    """`2.7.1`; empty: it has none."""
    cuda: str
    """`12.6`; empty: a CPU build."""
    min_driver: str
    """The oldest Linux driver that runs it; empty: not known, or a CPU build."""
    architectures: tuple[str, ...] = ()
    """Compute capabilities of the build, `9.0` or `12.0+PTX`; empty: not known."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set on activation, sorted; those that look like secrets are left out."""
    models: tuple[SubjectModel, ...] = ()
    hub_variables: Mapping[str, str] = field(default_factory=dict)
    """What makes clients of hubs use a view and ask no hub: names, and values in which `{view}`
    is the path of the view; see `hub`."""
    needs_flat: bool = False
    """Whether the locked transformers reads a flat view only (before 4.22)."""
    packages: int = 0
    wheels: int = 0
    """How many of the packages are wheels."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The text of each file in the environment's folder, by name; empty: there is no folder."""
    base_image: str
    """The image that images start from, with its digest."""
    envforge: str
    """The version that writes."""

    @property
    def docker_platform(self) -> str:
        """`linux/amd64`; empty where images have no such platform."""
        return {"linux-64": "linux/amd64", "linux-aarch64": "linux/arm64"}.get(self.platform, "")

    @property
    def has_gpu(self) -> bool:
        """Whether it is a CUDA build."""
        return bool(self.cuda)

    @property
    def tag(self) -> str:
        """Tells this lock from every other: `lock-` and 12 digits of the digest."""
        return f"lock-{self.digest[:12]}"

    def hub(self, view: str) -> dict[str, str]:
        """The variables that make clients use the view at this path, and ask no hub."""
        return {name: item.replace("{view}", view) for name, item in self.hub_variables.items()}

    @property
    def models_size(self) -> int:
        """Bytes of all models."""
        return sum(item.size for item in self.models)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something that only the one who asks knows: a path, an image, a limit."""

    name: str
    """As in `--set NAME=VALUE`; templates use it as `set["NAME"]`."""
    about: str
    """One clause for people: what it is."""
    default: str | None = ""
    """None: it must be given."""
    kind: FieldKind = "text"
    """path: absolute, without `..`. image: with a digest. number: a whole number from 0.
    size: as Kubernetes writes it, `16Gi`. name: letters, digits, `.`, `_` and `-`."""
    choices: tuple[str, ...] = ()


def _always(_: Subject, __: Answers) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file of an output."""

    template: str
    """Its name in `templates/exports/`."""
    name: str
    """What it is written to; `{env}` is the environment's name."""
    executable: bool = False
    when: Callable[[Subject, Answers], bool] = _always
    """Whether it is written at all."""


def _nothing(_: Subject, __: Answers) -> Mapping[str, object]:
    return {}


def _no_copies(_: Subject, __: Answers) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One `export --to NAME` that templates write."""

    name: str
    about: str
    """One clause for people: what it is."""
    files: tuple[OutputFile, ...]
    fields: tuple[Field, ...] = ()
    values: Callable[[Subject, Answers], Mapping[str, object]] = _nothing
    """What its templates may use besides `env` and `set`; refuses answers that do not fit."""
    copies: Callable[[Subject, Answers], Mapping[str, str]] = _no_copies
    """Files that are written beside as they are: name (with folders) to text."""
    platforms: tuple[str, ...] = ("linux-64", "linux-aarch64")
    """For which it can be written; the first one that is locked, unless one is named."""
    next: str = ""
    """What to do with it: a command, told to whoever asked; `{env}`, and where it was written,
    `{folder}` and `{file}` (the first one), are replaced."""
    needs: tuple[str, ...] = ()
    """Packages without which it is of no use; one that is not locked is told."""
    builds: bool = False
    """Whether it installs the lock elsewhere: it makes an image, whose layers are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Something that takes its own space in an image."""

    what: str
    size: int
    """Bytes, unpacked."""
    estimated: bool = False
