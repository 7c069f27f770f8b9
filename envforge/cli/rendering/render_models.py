"""What `cache lock`, `check` and `diff` answer, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from envforge.cli.failure import to_paste
from envforge.cli.rendering.render import columns, size
from envforge.formats.models import model_spec
from envforge.model.models import LockedModel, ModelChange, ModelsLock
from envforge.model.results import ModelsResult, ModelsState
from envforge.model.wording import counted

_SHOWN: int = 12
"""Digits of a commit that are shown to people; changed files that are shown of one model."""


def lock_document(result: ModelsResult) -> dict[str, Any]:
    """What `cache lock` did."""
    return {
        "name": result.name,
        "folder": str(result.folder),
        "outcome": result.outcome,
        "models": [_model_document(model) for model in result.lock.models],
        "changes": diff_documents(result.changes),
    }


def _model_document(model: LockedModel) -> dict[str, Any]:
    return {
        "repo": model.repo.id,
        "kind": model.repo.kind,
        "revision": model.request.revision,
        "commit": model.commit,
        "bytes": model.size,
        "files": [asdict(item) for item in model.files],
    }


def diff_documents(changes: Iterable[ModelChange]) -> list[dict[str, Any]]:
    """What moved; null stands for what is not there."""
    return [
        {
            "repo": change.repo.id,
            "kind": change.repo.kind,
            "revision": change.revision,
            "from": change.before or None,
            "to": change.after or None,
            "files": [
                {"path": file.path, "from_bytes": file.before, "to_bytes": file.after}
                for file in change.files
            ],
        }
        for change in changes
    ]


def check_document(states: Iterable[ModelsState]) -> dict[str, Any]:
    """Which locks are current."""
    return {
        "environments": [
            {
                "name": state.name,
                "folder": str(state.folder),
                "current": not state.disagreements,
                "disagreements": list(state.disagreements),
                "models": len(state.requests),
                "files": len(state.lock.files) if state.lock else 0,
                "bytes": _bytes(state.lock),
            }
            for state in states
        ]
    }


# --- text -----------------------------------------------------------------------------------


def show_locked(result: ModelsResult) -> None:
    """Where the lock lies, what it holds, and what moved."""
    verb = {"written": "locked", "unchanged": "unchanged", "planned": "would lock"}[result.outcome]
    total = f"{counted(len(result.lock.models), 'model')}, {size(_bytes(result.lock))}"
    click.echo(f"{click.style(verb, fg='green', bold=True)} {result.folder}: {total}")
    was = {(change.repo, change.revision): change.before for change in result.changes}
    for line in columns(_row(model, was) for model in result.lock.models):
        click.echo(f"  {line}")
    gone = [change for change in result.changes if not change.after]
    for change in gone:
        click.echo(f"  no longer locked: {change.repo.shown}@{change.revision}")


def _row(model: LockedModel, was: dict[Any, str]) -> tuple[str, ...]:
    before = was.get((model.repo, model.request.revision))
    moved = f"was {before[:_SHOWN]}" if before and before != model.commit else ""
    return (
        model_spec.show(model.request),
        model.commit[:_SHOWN],
        counted(len(model.files), "file"),
        size(model.size),
        moved,
    )


def show_checked(states: Sequence[ModelsState]) -> None:
    """Problems first, with the command that mends them; then what is current."""
    for state in states:
        if not state.disagreements:
            continue
        click.echo(f"{click.style('stale', fg='red', bold=True)} {state.name}")
        for reason in state.disagreements:
            click.echo(f"  {reason}")
        click.echo(to_paste(f"  mend: envforge cache lock {state.name} --keep"))
    for state in states:
        if not state.disagreements:
            held = f"{counted(len(state.requests), 'model')}, {size(_bytes(state.lock))}"
            click.echo(f"{click.style('current', fg='green', bold=True)} {state.name}: {held}")
    if not states:
        click.echo(
            to_paste(
                "no environment has models: `envforge cache lock ENV --model org/name` adds one"
            )
        )


def show_diff(changes: Sequence[ModelChange]) -> None:
    """A paragraph a model; `+` came, `-` went, `~` has other bytes."""
    if not changes:
        click.echo("nothing moved")
    for line in diff_lines(changes):
        click.echo(line)


def diff_lines(changes: Iterable[ModelChange]) -> Iterator[str]:
    """The same, line by line."""
    for change in changes:
        ends = [commit[:_SHOWN] if commit else "-" for commit in (change.before, change.after)]
        yield f"{change.repo.shown}@{change.revision}  {ends[0]} -> {ends[1]}"
        rows = [_file_row(file.path, file.before, file.after) for file in change.files[:_SHOWN]]
        yield from (f"  {line}" for line in columns(rows))
        if len(change.files) > _SHOWN:
            yield f"  and {len(change.files) - _SHOWN} files more: --json lists all"


def _file_row(path: str, before: int | None, after: int | None) -> tuple[str, str, str]:
    if before is None:
        return "+", path, size(after or 0)
    if after is None:
        return "-", path, size(before)
    return "~", path, size(after) if before == after else f"{size(before)} -> {size(after)}"


def _bytes(lock: ModelsLock | None) -> int:
    return sum(item.size for item in lock.files.values()) if lock else 0
