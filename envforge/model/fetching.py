"""What a prefill wants, what it plans, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from envforge.model.models import HubSnapshot, LockedModel, Repo


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One file that the store should hold, and where it can be had."""

    repo: Repo
    commit: str
    path: str
    size: int
    """Bytes."""
    blob: str
    """The hub's name for it: git's sha1, or the sha256 of an LFS file."""
    sha256: str = ""
    """Empty: only its bytes can tell; then `blob` proves them."""
    xet: str = ""
    """Its hash in Xet storage; empty: it comes by plain HTTP."""

    @property
    def key(self) -> str:
        """What it is claimed and kept under on its way: the best name known beforehand."""
        return self.sha256 or self.blob

    @property
    def shown(self) -> str:
        """`org/name/config.json`."""
        return f"{self.repo.shown}/{self.path}"


def of_lock(models: Iterable[LockedModel]) -> tuple[Wanted, ...]:
    """Every file of these models, equal ones once."""
    found = {
        item.sha256: Wanted(
            repo=model.repo,
            commit=model.commit,
            path=item.path,
            size=item.size,
            blob=item.blob,
            sha256=item.sha256,
            xet=item.xet,
        )
        for model in models
        for item in model.files
    }
    return tuple(found.values())


def of_snapshot(snapshot: HubSnapshot) -> tuple[Wanted, ...]:
    """Every file that a hub lists, equal ones once."""
    found = {
        item.sha256 or item.blob: Wanted(
            repo=snapshot.repo,
            commit=snapshot.commit,
            path=item.path,
            size=item.size,
            blob=item.blob,
            sha256=item.sha256,
            xet=item.xet,
        )
        for item in snapshot.files
    }
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPlan:
    """What a prefill has to fetch."""

    present: tuple[Wanted, ...]
    missing: tuple[Wanted, ...]
    """Largest first, so that no long one is left for the end."""
    at_hand: int = 0
    """Bytes of the missing that an interrupted prefill has left."""

    @property
    def missing_bytes(self) -> int:
        """Bytes that the store will grow by."""
        return sum(item.size for item in self.missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of fetching."""

    files: int = 0
    """That we fetched."""
    payload: int = 0
    """Bytes that we received, thrown away ones included."""
    by_others: int = 0
    """Files that another process fetched meanwhile."""

    def __add__(self, other: Fetched) -> Fetched:
        return Fetched(
            files=self.files + other.files,
            payload=self.payload + other.payload,
            by_others=self.by_others + other.by_others,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled:
    """What `cache prefill` did."""

    store: str
    plan: FetchPlan
    fetched: Fetched
    views: tuple[str, ...] = ()
    """Paths of the views that were made or refreshed."""
    repos: tuple[str, ...] = ()
    """Repositories that were named, which no view shows yet."""
    seconds: float = 0.0
    dry_run: bool = False
