"""What `cache scan` and `cache gc` found, as text and as JSON."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Final

import click

from envforge.cache.collect_plan import Collected, Reason, last_use
from envforge.cache.survey import StoredFile, Tree
from envforge.cache.usage import GROUPINGS, Grouping, Usage, UsageRow
from envforge.cli.failure import to_paste
from envforge.cli.rendering.plain_text import echo
from envforge.cli.rendering.shown import as_json, size
from envforge.formats.text.printable import clean, one_line, printable_document
from envforge.model.wording import counted

_WIDTH: Final = 80
_TITLES: Final[dict[Grouping, str]] = {
    "repo": "REPOSITORY",
    "revision": "REVISION",
    "environment": "USED BY",
    "owner": "OWNER",
}
_MODES: Final = {"hardlink": "link", "no view": "no view"}
_WHY: Final[dict[Reason, str]] = {
    "linked": "in views",
    "locked": "named by locks",
    "leased": "a prefill or a view is at them",
    "copied": "views have copies of them",
    "young": "used within {age}",
    "enough free": "enough is free without them",
}
_ASIDE: Final = {
    "parts": "unfinished downloads; `envforge cache gc` removes what nobody goes on with",
    "quarantine": "files of wrong bytes, kept to be looked at; `rm` them when you have",
    "trash": "left by an interrupted collection; `envforge cache gc` ends it",
}


# --- scan -----------------------------------------------------------------------------------


def title(usage: Usage) -> str:
    """One line above a plot."""
    total = usage.total
    return f"{usage.survey.store}: {size(total.bytes)} in {counted(total.files, 'file')}"


def show(usage: Usage, groupings: Sequence[Grouping]) -> None:
    """The totals, and a table for each grouping."""
    for problem in usage.survey.problems:
        echo(f"{click.style('warning:', fg='yellow', bold=True)} {clean(problem)}")
    total = usage.total
    echo(one_line(title(usage)))
    echo(
        f"  {size(total.shared)} shared, {size(total.own)} used by one,"
        f" {size(total.reclaimable)} unused"
    )
    for place, (count, taken) in usage.aside.items():
        echo(f"  {size(taken)} in {place}/ ({counted(count, 'file')}): {_ASIDE[place]}")
    if not usage.survey.reads_recorded:
        echo("  READ is not known: the store's mount records none (noatime, or read-only)")
    for grouping in groupings:
        _show_table(usage, grouping)
    if usage.survey.gone:
        echo("")
        for line in _gone_lines(usage.survey.gone):
            echo(line)
    if total.reclaimable:
        echo("\nwhat of it can go: " + to_paste("`envforge cache gc --dry-run`"))


def _show_table(usage: Usage, grouping: Grouping) -> None:
    rows = usage.rows(grouping)
    if not rows:
        return
    now = time.time()
    head = ("BYTES", "SHARED", "OWN", "UNUSED", "READ", "HOW")
    numbers = _right_aligned([head, *(_cells(row, now) for row in rows)])
    echo("")
    for line, name in zip(numbers, (_TITLES[grouping], *(row.name for row in rows)), strict=True):
        _show_row(line, one_line(name))


def _right_aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two blanks apart; the last, which holds words, begins at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                *(c.rjust(w) for c, w in zip(row[:-1], widths, strict=False)),
                row[-1].ljust(widths[-1]),
            ]
        )
        for row in rows
    ]


def _show_row(numbers: str, name: str) -> None:
    """The name comes last, and in a line of its own where it would not fit."""
    if len(numbers) + 2 + len(name) <= _WIDTH:
        echo(f"{numbers}  {name}")
    else:
        echo(f"{numbers.rstrip()}\n  {name}")


def _cells(row: UsageRow, now: float) -> tuple[str, ...]:
    amounts = (row.bytes, row.shared, row.own, row.reclaimable)
    read = "?" if row.last_read is None else _age(now - row.last_read)
    return (*map(_short, amounts), read, "+".join(_MODES.get(m, m) for m in row.modes) or "-")


def _short(number: int) -> str:
    """Narrower than `size`: `24.1G`."""
    return size(number).replace(" ", "").removesuffix("B") if number else "-"


def _age(seconds: float) -> str:
    if seconds >= 86400:
        return f"{int(seconds // 86400)} d"
    return f"{int(seconds // 3600)} h" if seconds >= 3600 else "now"


def usage_json(usage: Usage) -> str:
    """The whole answer."""
    survey = usage.survey
    return _json(
        "cache-scan",
        {
            "store": survey.store,
            "reads_recorded": survey.reads_recorded,
            "read_only": survey.read_only,
            "gone_views": list(survey.gone),
            "problems": list(survey.problems),
            "total": _row_document(usage.total),
            "by": {name: [_row_document(row) for row in usage.rows(name)] for name in GROUPINGS},
            "trees": [_tree_document(tree) for tree in survey.trees],
            "aside": {
                place: {"files": count, "bytes": taken}
                for place, (count, taken) in usage.aside.items()
            },
        },
    )


def _row_document(row: UsageRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "files": row.files,
        "bytes": row.bytes,
        "shared": row.shared,
        "own": row.own,
        "reclaimable": row.reclaimable,
        "last_read": _moment(row.last_read),
        "link_modes": list(row.modes),
        "environments": list(row.environments),
        "owners": list(row.owners),
    }


def _tree_document(tree: Tree) -> dict[str, Any]:
    return {
        "path": tree.path,
        "owner": tree.user,
        "environment": tree.environment or None,
        "problem": tree.problem or None,
        "revisions": [
            {
                "repo": item.repo,
                "commit": item.commit,
                "refs": list(item.refs),
                "detached": item.is_detached,
            }
            for item in tree.snapshots
        ],
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec="seconds")


# --- gc -------------------------------------------------------------------------------------


def show_collected(collected: Collected, age: str) -> None:
    """What went, or would, and why the rest stays."""
    for line in _collected_lines(collected, age):
        echo(line)


def _collected_lines(collected: Collected, age: str) -> Iterator[str]:
    plan = collected.plan
    files = plan.remove if collected.is_dry_run else collected.removed
    if plan.missing:
        warning = click.style("warning:", fg="yellow", bold=True)
        yield f"{warning} {size(plan.missing)} less will be free than asked for; a shorter"
        yield "  --older-than lets more go"
    verb = "would free" if collected.is_dry_run else "freed"
    if collected.freed:
        yield f"{verb} {size(collected.freed)}: {_what(collected, files)}"
    else:
        yield f"nothing to remove: {_why_nothing(plan.kept, age)}"
    if collected.needed_after_all:
        yield f"  came into use meanwhile: {counted(collected.needed_after_all, 'file')}"
    kept = [
        f"{size(taken)} in {counted(count, 'file')}: {_WHY[reason].format(age=age)}"
        for reason, (count, taken) in plan.kept.items()
    ]
    yield from (f"  stays: {line}" for line in kept)
    if collected.views:
        verb = "would remove" if collected.is_dry_run else "removed"
        yield f"{verb} {counted(len(collected.views), 'view')} of environments that are gone:"
        yield from (f"  {one_line(path)}" for path in collected.views)
        if collected.is_dry_run:
            yield "  what only they link to could go next"
    yield from _gone_lines(collected.gone)
    yield from (f"note: {clean(note)}" for note in collected.notes)


def _gone_lines(paths: Sequence[str]) -> Iterator[str]:
    """Views that outlived their environments, and what removes them."""
    if not paths:
        return
    yield f"{counted(len(paths), 'view')} of environments that are gone:"
    for path in paths:
        if path.removesuffix(".flat") != path and path.removesuffix(".flat") in paths:
            continue  # goes with the view that it lies beside
        yield f"  {to_paste(f'envforge cache view {shlex.quote(one_line(path))} --remove')}"
    yield f"  all at once: {to_paste('envforge cache gc --views')}"


def _why_nothing(kept: Collection[Reason], age: str) -> str:
    if "enough free" in kept:
        return "enough is free"
    if not kept:
        return "the store is empty"
    return "everything is in use" + (f", or was within {age}" if "young" in kept else "")


def _what(collected: Collected, files: Sequence[StoredFile]) -> str:
    told = []
    if files:
        told.append(f"{counted(len(files), 'file')} that nothing uses{_span(files)}")
    if collected.parts[0]:
        told.append(counted(collected.parts[0], "unfinished download"))
    if collected.leftovers[0]:
        told.append(f"{counted(collected.leftovers[0], 'file')} of an interrupted collection")
    if collected.damaged[0]:
        told.append(f"{counted(collected.damaged[0], 'damaged file')} of the quarantine")
    if collected.scraps[0]:
        told.append(f"{counted(collected.scraps[0], 'file')} that killed processes never finished")
    return ", ".join(told)


def _span(files: Iterable[StoredFile]) -> str:
    ages = [time.time() - last_use(item) for item in files]
    oldest, newest = _age(max(ages)), _age(min(ages))
    if "now" in {oldest, newest}:
        return ""
    return f", for {newest}" if oldest == newest else f", for {newest} to {oldest}"


def collected_json(collected: Collected) -> str:
    """The whole answer."""
    plan = collected.plan
    files = plan.remove if collected.is_dry_run else collected.removed
    return _json(
        "cache-gc",
        {
            "dry_run": collected.is_dry_run,
            "freed_bytes": collected.freed,
            "removed": [
                {
                    "sha256": item.sha256,
                    "bytes": item.facts.disk,
                    "last_use": _moment(last_use(item)),
                }
                for item in files
            ],
            "needed_after_all": collected.needed_after_all,
            "unfinished_downloads": _pair(collected.parts),
            "leftovers": _pair(collected.leftovers),
            "quarantined": _pair(collected.damaged),
            "unfinished_files": _pair(collected.scraps),
            "kept": {reason: _pair(amount) for reason, amount in plan.kept.items()},
            "missing_bytes": plan.missing,
            "views": list(collected.views),
            "gone_views": list(collected.gone),
            "notes": list(collected.notes),
        },
    )


def _pair(amount: tuple[int, int]) -> dict[str, int]:
    return {"files": amount[0], "bytes": amount[1]}


def _json(command: str, document: dict[str, Any]) -> str:
    found: dict[str, Any] = printable_document(document)
    return as_json(command, found)
