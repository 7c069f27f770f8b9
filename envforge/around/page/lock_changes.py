"""What became of locks since a revision, as a page lists it."""

from __future__ import annotations

from typing import Final

from envforge.around.page.overview import FactRow, LockChange, MoveRow
from envforge.model.difference import Comparison, GpuRow, Move
from envforge.model.wording import counted

_SIGNS: Final = {"added": "+", "removed": "-"}
_SAID: Final = {"downgraded": "older", "other-bytes": "other bytes"}


def moved(name: str, found: Comparison) -> LockChange:
    """An environment that was there, and installs something else now."""
    facts = tuple(_fact(row, found) for row in found.gpu if row.differs)
    return LockChange(
        name=name,
        kind="moved",
        summary=_summary(found),
        facts=facts,
        moves=tuple(_move(item, found) for item in found.moves),
        notes=(*_platform_notes(found), *_model_notes(found), *found.notes),
    )


def new(name: str, packages: int) -> LockChange:
    """An environment that was not there."""
    return LockChange(name=name, kind="new", summary=f"new, {counted(packages, 'package')}")


def gone(name: str) -> LockChange:
    """An environment that is not there any more."""
    return LockChange(name=name, kind="gone", summary="removed")


def unlocked(name: str) -> LockChange:
    """An environment that is there, and was locked once."""
    return LockChange(name=name, kind="gone", summary="its lock is gone")


def unknown(name: str, why: str) -> LockChange:
    """An environment that could not be compared."""
    return LockChange(name=name, kind="unknown", summary="cannot be compared", notes=(why,))


def _summary(found: Comparison) -> str:
    count = len(found.moves)
    asked = len(found.asked)
    if not count:
        return "the same packages, other platforms or models"
    direct = f", {asked:,} asked for" if asked else ""
    return f"{counted(count, 'package')} moved{direct}"


def _fact(row: GpuRow, found: Comparison) -> FactRow:
    where = _where(row.platforms, found)
    return FactRow(
        fact=f"{row.fact} {where}".rstrip(),
        before=row.before or "none",
        after=row.after or "none",
    )


def _move(move: Move, found: Comparison) -> MoveRow:
    said = filter(None, (_SAID.get(move.kind, ""), _where(move.platforms, found)))
    return MoveRow(
        package=move.name,
        sign=_SIGNS.get(move.kind, "~"),  # type: ignore[arg-type]
        before=move.before,
        after=move.after,
        note=", ".join(said),
        why="asked for" if move.cause.why == "asked" else move.cause.detail,
    )


def _where(platforms: tuple[str, ...], found: Comparison) -> str:
    return "" if set(platforms) >= set(found.platforms) else ", ".join(platforms)


def _platform_notes(found: Comparison) -> tuple[str, ...]:
    lost = (f"no longer locked for {item}" for item in found.lost_platforms or {})
    gained = (f"locked for {item} too" for item in found.gained_platforms or {})
    return (*lost, *gained)


def _model_notes(found: Comparison) -> tuple[str, ...]:
    return tuple(
        f"model {item.repo.shown}: {item.before[:12] or 'none'} to {item.after[:12] or 'none'}"
        for item in found.models
    )
