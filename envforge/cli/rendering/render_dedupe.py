"""What `cache dedupe` and `cache adopt` did, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from envforge.cli.rendering import shown
from envforge.cli.rendering.shown import size
from envforge.formats.text.printable import one_line
from envforge.model.deduping import DedupeResult, UndoResult
from envforge.model.wording import counted

_SHOWN = 10
"""Files named one by one; more are counted."""


def show_deduped(result: DedupeResult, *, as_json: bool) -> int:
    """Print it; the exit status: 1 where damaged files were found."""
    if as_json:
        click.echo(shown.as_json("cache-dedupe", document(result)))
        return _status(result)
    _show_problems(result)
    if result.dry_run:
        click.echo(f"would free {size(result.freed)}: {_copies(result)} become links")
        if result.to_read:
            click.echo(f"  would read {size(result.to_read)} first, to prove what is kept")
    elif result.copies:
        freed = click.style(f"freed {size(result.freed)}", fg="green", bold=True)
        click.echo(f"{freed}: {_copies(result)} became links")
        click.echo(f"  {size(result.read)} read in {result.seconds:.1f} s; to undo: --undo")
    else:
        click.echo(f"nothing to link: {counted(result.names, 'model file')} seen")
    _show_left(result)
    return _status(result)


def show_adopted(result: DedupeResult, *, as_json: bool) -> int:
    """Print it; the exit status: 1 where damaged files were found."""
    if as_json:
        click.echo(shown.as_json("cache-adopt", document(result)))
        return _status(result)
    _show_problems(result)
    would = "would take" if result.dry_run else "took"
    click.echo(
        f"{would} {counted(result.adopted, 'file')} into the store"
        f" ({size(result.adopted_bytes)}), {size(result.freed)} freed"
    )
    if result.copied:
        click.echo(f"  {counted(result.copied, 'file')} copied from another filesystem; both stay")
    _show_left(result)
    return _status(result)


def show_undone(result: UndoResult, *, as_json: bool) -> None:
    """What was given back."""
    if as_json:
        click.echo(shown.as_json("cache-dedupe-undo", _plain(asdict(result))))
        return
    _listed("could not be given back", result.problems)
    click.echo(f"{counted(result.restored, 'name')} restored, {size(result.bytes)}")
    if result.skipped:
        click.echo(f"  {counted(result.skipped, 'name')} left: something else by now")


def document(result: DedupeResult) -> dict[str, Any]:
    """As JSON."""
    return _plain(asdict(result)) | {"seconds": round(result.seconds, 3)}


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Paths as text; names in other encodings with their bytes escaped."""
    return {key: _text(item) for key, item in value.items()}


def _text(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    if isinstance(value, (int, float, dict)) or value is None:
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()


def _copies(result: DedupeResult) -> str:
    return f"{counted(result.copies, 'copy')} of {counted(result.sets, 'file')}"


def _show_problems(result: DedupeResult) -> None:
    _listed(
        "damaged: the bytes are not what the name says",
        [(path, "delete it; the next load fetches it again") for path, _ in result.damaged],
    )
    _listed("differ from the proven copy", [(path, "left as it is") for path in result.different])
    _listed("left alone", result.problems)


def _listed(what: str, items: Sequence[tuple[str, str]]) -> None:
    if not items:
        return
    click.echo(f"{click.style(str(len(items)), bold=True)} {what}")
    for path, reason in items[:_SHOWN]:
        click.echo(f"  {one_line(path)}: {reason}")
    if len(items) > _SHOWN:
        click.echo(f"  and {len(items) - _SHOWN} more; --json names all")


def _show_left(result: DedupeResult) -> None:
    if result.left:
        reasons = ", ".join(f"{number} {reason}" for reason, number in result.left.items())
        click.echo(f"  {size(result.left_bytes)} stay apart: {reasons}")
    for store in result.stores:
        click.echo(f"  {one_line(store)} is a store: it holds nothing twice")


def _status(result: DedupeResult) -> int:
    return 1 if result.damaged else 0
