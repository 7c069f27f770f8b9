"""Models, datasets and spaces of a Hugging Face hub, asked for and pinned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

RepoKind = Literal["model", "dataset", "space"]
REPO_KINDS: Final[tuple[RepoKind, ...]] = get_args(RepoKind)
MAIN: Final = "main"
"""The branch that is meant where no revision is named, as huggingface_hub has it."""
TOKENIZER_ONLY: Final = "tokenizer-only"
"""Shorthand for the files that a tokenizer and a configuration need: no weights."""
TOKENIZER_FILES: Final = (
    "*.json",
    "*.model",
    "*.txt",
    "*.tiktoken",
    "*.jinja",
    "*.py",
    "tokenizer*",
    "vocab*",
    "merges*",
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Repo:
    """A repository on a hub."""

    kind: RepoKind = "model"
    id: str
    """`org/name`, or a bare name for the oldest models (`bert-base-uncased`)."""

    @property
    def folder(self) -> str:
        """Its folder in a cache: `models--org--name`."""
        return "--".join([f"{self.kind}s", *self.id.split("/")])

    @property
    def shown(self) -> str:
        """As a person writes it; the kind is told where it is not a model."""
        return self.id if self.kind == "model" else f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One entry of models.yml: what somebody asks for."""

    repo: Repo
    revision: str = MAIN
    """Branch, tag, or commit of 7 to 40 hexadecimal digits."""
    allow: tuple[str, ...] = ()
    """Only files that match one of these `fnmatch` patterns; empty: all. As huggingface_hub's
    `allow_patterns`: a pattern that ends with `/` means all that lies below."""
    ignore: tuple[str, ...] = ()
    """No file that matches one of these."""
    only: Literal["", "tokenizer-only"] = ""
    """The shorthand that was written instead of patterns."""

    @property
    def patterns(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What is allowed and what ignored, the shorthand spelt out."""
        return (TOKENIZER_FILES if self.only else self.allow), self.ignore


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ModelFile:
    """One file of a snapshot."""

    path: str
    """Inside the repository, with `/`; never absolute, never with `..`."""
    size: int
    """Bytes."""
    sha256: str
    blob: str
    """Its name under `blobs/`, the hub's ETag: an LFS or Xet file's sha256, else git's sha1."""
    xet: str = ""
    """Hash of the file in Xet storage, where the hub tells one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedModel:
    """A repository at one commit, with the files that were asked for."""

    request: ModelRequest
    commit: str
    """40 hexadecimal digits."""
    files: tuple[ModelFile, ...]
    """Sorted by path."""

    @property
    def repo(self) -> Repo:
        """Which repository."""
        return self.request.repo

    @property
    def size(self) -> int:
        """Bytes of all files, equal ones counted once."""
        return sum({item.sha256: item.size for item in self.files}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsLock:
    """models-lock.yml: all models of one environment."""

    models: tuple[LockedModel, ...]
    """Sorted by repository, then revision."""

    @property
    def files(self) -> dict[str, ModelFile]:
        """Every file once, by its sha256."""
        return {item.sha256: item for model in self.models for item in model.files}


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """What a hub tells of one file, before anything is fetched."""

    path: str
    size: int
    blob: str
    """The ETag it will come with: git's sha1, or the sha256 of an LFS file."""
    sha256: str = ""
    """Empty: a regular file, whose sha256 only its bytes can tell."""
    xet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSnapshot:
    """A repository at one commit, as the hub lists it."""

    repo: Repo
    commit: str
    files: tuple[HubFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A file that is not the same in two locks."""

    path: str
    before: int | None
    """Bytes; None: it was not there."""
    after: int | None
    """Bytes; None: it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """A model that is not the same in two locks."""

    repo: Repo
    revision: str
    before: str
    """Commit; empty: it was not locked."""
    after: str
    """Commit; empty: it is no longer locked."""
    files: tuple[FileChange, ...]
    """Those whose bytes changed, sorted by path."""


LinkMode = Literal["hardlink", "reflink", "copy"]
"""How a view got a file; only hardlinks share both the disk and the page cache."""
