"""Where a program finds a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from typing_extensions import Self

Policy = Literal["local-first", "local-only", "online"]
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)
Source = Literal["local", "online"]


class ModelPath(str):
    """The folder of a snapshot: text that every loader takes, and that says where it is from.

    path = envforge.models.path("bert-base-uncased")
    AutoModel.from_pretrained(path)
    print(path.source, path.commit)
    """

    __slots__ = ("cache", "commit", "complete", "source")

    source: Source
    """`local`: nobody was asked. `online`: the hub was, and what was missing was fetched."""
    commit: str
    """40 hexadecimal digits."""
    cache: str
    """The cache tree that it lies in."""
    complete: bool | None
    """Whether all files that were asked for are there; None: nothing here tells which those are."""

    def __new__(
        cls, path: str, *, source: Source, commit: str, cache: str, complete: bool | None
    ) -> Self:
        self = super().__new__(cls, path)
        self.source, self.commit, self.cache, self.complete = source, commit, cache, complete
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, object]]:
        """Programs hand paths to worker processes."""
        told = {"source": self.source, "commit": self.commit}
        return (str(self),), {**told, "cache": self.cache, "complete": self.complete}
