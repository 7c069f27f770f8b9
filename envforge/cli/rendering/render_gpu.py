"""Who holds memory of the GPUs, as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from envforge.cli.rendering.plain_text import echo
from envforge.cli.rendering.render_health import finding_lines
from envforge.formats.text.printable import one_line, printable_document
from envforge.model.gpu_memory import GpuMemory, GpuReport, Holder, UserShare

_WIDTH: Final = 80
_GIB: Final = 2**30
_HEADS: Final = ("PID", "USER", "MEMORY", "USE", "TENSORS", "CACHED", "RETURNS", "PROGRAM")
_SUMS: Final = ("MEMORY", "IDLE", "TENSORS", "CACHED", "RETURNS")
_NUMBERS: Final = frozenset({"PID", "GPU", "USE", *_SUMS})
_LONGEST_USER: Final = 12


def document(report: GpuReport) -> dict[str, Any]:
    """All that was seen."""
    found: dict[str, Any] = printable_document(
        {
            "driver": report.driver,
            "problem": report.problem,
            "seconds": report.seconds,
            "gpus": [_gpu(item) for item in report.gpus],
            "users": [_user(item) for item in report.users],
            "findings": [asdict(item) for item in report.findings],
        }
    )
    return found


def _gpu(gpu: GpuMemory) -> dict[str, Any]:
    known = None if gpu.holders is None else [_holder(item) for item in gpu.holders]
    users = [_user(item) for item in gpu.users]
    return {**asdict(gpu), "holders": known, "users": users, "unaccounted": gpu.unaccounted}


def _user(share: UserShare) -> dict[str, Any]:
    return {**asdict(share), "cached": share.cached}


def _holder(holder: Holder) -> dict[str, Any]:
    found = {**asdict(holder), "user": holder.user, "name": holder.name}
    if holder.allocator is not None:
        memory = holder.allocator
        found["allocator"] = {**asdict(memory), "cached": memory.cached, "stuck": memory.stuck}
    return found


def show(report: GpuReport) -> None:
    """The GPUs with who holds them, then the users, then what is worth a word."""
    for line in text(report):
        echo(line)


def text(report: GpuReport) -> Iterator[str]:
    """The same, line by line."""
    if report.problem:
        yield from _wrapped(f"error: {report.problem}")
        yield f"  mend: {click.style('envforge verify --host', bold=True)} says why"
    elif report.driver is None:
        yield "no NVIDIA driver on this machine"
    elif not report.gpus:
        yield f"driver {one_line(report.driver)} lists no GPU; `envforge doctor` says more"
    for gpu in report.gpus:
        yield from _of_gpu(gpu)
    if len(report.users) > 1 or sum(item.processes for item in report.users) > 1:
        yield ""
        yield from _of_users(report)
    for finding in report.findings:
        yield ""
        yield from finding_lines(finding)
    if any(_is_silent(item) for gpu in report.gpus for item in gpu.holders or ()):
        yield ""
        note = (
            "TENSORS, CACHED (together: reserved) and RETURNS are told by programs that"
            " `envforge gpu -- CMD` started"
        )
        yield from (click.style(line, dim=True) for line in _wrapped(note))


def _is_silent(holder: Holder) -> bool:
    return holder.allocator is None


def _of_gpu(gpu: GpuMemory) -> Iterator[str]:
    yield from _wrapped(_headline(gpu))
    if gpu.holders:
        rows = [_cells(item) for item in gpu.holders]
        yield from _table(_HEADS, rows)
    elif gpu.holders is None and not gpu.error:
        yield "  who holds it is not told"


def _headline(gpu: GpuMemory) -> str:
    title = click.style(f"GPU {gpu.index}", bold=True)
    if gpu.error or gpu.total is None or gpu.free is None:
        return f"{title} {one_line(gpu.name)}: {one_line(gpu.error) or 'memory is not told'}"
    parts = [f"{_gib(gpu.free)} of {_gib(gpu.total)} GiB free"]
    if gpu.busy is not None:
        parts.append(f"busy {gpu.busy} %")
    if gpu.driver_reserved:
        parts.append(f"driver keeps {_gib(gpu.driver_reserved)}")
    if gpu.is_cut:
        parts.append("cut up (MIG)")
    elif gpu.unaccounted:
        parts.append(f"{_gib(gpu.unaccounted)} by nobody in sight")
    return f"{title} {one_line(gpu.name)}: {', '.join(parts)}"


def _cells(holder: Holder) -> tuple[str, ...]:
    memory = holder.allocator
    told = (memory.allocated, memory.cached, memory.releasable) if memory else (None, None, None)
    use = holder.use if not holder.percent else f"{holder.percent} %"
    user = one_line(holder.user) or "?"
    return (
        str(holder.pid),
        user if len(user) <= _LONGEST_USER else f"{user[: _LONGEST_USER - 1]}…",
        _gib(holder.memory_bytes),
        "?" if use == "unknown" else use,
        *map(_gib, told),
        one_line(holder.name) or "not in sight",
    )


def _of_users(report: GpuReport) -> Iterator[str]:
    rows = []
    for user in report.users:
        parts = [
            (str(gpu.index), item)
            for gpu in report.gpus
            for item in gpu.users
            if item.user == user.user
        ]
        whole = [("all", user)] if len(parts) > 1 else []
        rows += [_share(where, item) for where, item in (*whole, *parts)]
    yield from _table(("USER", "GPU", *_SUMS, ""), rows)


def _share(where: str, item: UserShare) -> tuple[str, ...]:
    """A row; what nobody tells is no number, and what some tell says of how many it is."""
    told = (item.allocated, item.cached, item.releasable) if item.telling else (None, None, None)
    some = f", {item.telling} told" if 0 < item.telling < item.processes else ""
    return (
        one_line(item.user) or "not in sight",
        where,
        _gib(item.memory_bytes),
        _gib(item.idle_bytes),
        *map(_gib, told),
        ("1 process" if item.processes == 1 else f"{item.processes} processes") + some,
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns in GiB, right-aligned; the last one takes what is left of the line."""
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    for number, row in enumerate((heads, *rows)):
        cells = [
            cell.rjust(width) if head in _NUMBERS else cell.ljust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        ]
        line = f"  {'  '.join(cells)}".rstrip()
        line = line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
        yield click.style(line, dim=True) if number == 0 else line


def _gib(number: int | None) -> str:
    return "-" if number is None else f"{number / _GIB:.1f}"


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
