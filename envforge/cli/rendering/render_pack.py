"""What `pack` and `unpack` did, as text and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import click

from envforge.cli.rendering.shown import as_json, size
from envforge.model.pack import MemberKind, Packed, PackIndex, Unpacked
from envforge.model.wording import counted

_COUNTED: tuple[tuple[MemberKind, str], ...] = (
    ("package", "package"),
    ("wheel", "wheel"),
    ("model", "model file"),
)


def packed_text(done: Packed) -> str:
    """What the pack holds, and how it is used."""
    place = done.path or "standard output"
    if done.dry_run:
        return "\n".join((f"would pack {_holds(done.index)} into {place}", *_listed(done.index)))
    resumed = f"; {counted(done.resumed, 'file')} kept" if done.resumed else ""
    lines = [
        f"{_good('packed')} {place} ({size(done.size)}, {done.seconds:.1f} s{resumed})",
        f"  {_holds(done.index)} for {done.index.platform}",
        *_listed(done.index),
        f"  sha256 {done.sha256}",
        *(f"  note: {note}" for note in done.notes),
    ]
    if done.path:
        file = shlex.quote(done.path.rpartition("/")[2])
        lines.append(f"there: envforge unpack {file}")
        if done.index.count("tool"):
            lines.append(f"or:    tar -xf {file} bootstrap.sh && sh bootstrap.sh {file}")
    return "\n".join(lines)


def unpacked_text(done: Unpacked) -> str:
    """What came, and what to do next."""
    place = done.path or "standard input"
    if done.dry_run:
        head = f"{_good('verified')} {place}: {_holds(done.index)} for {done.index.platform}"
        return "\n".join((head, *_listed(done.index)))
    there = done.index.count("package") + done.index.count("wheel") + done.index.count("model")
    came = done.packages + done.wheels + done.models
    lines = [
        f"{_good('unpacked')} {place}: {size(done.read)} verified ({done.seconds:.1f} s)",
        f"  {came} of {there} files were new",
        *(f"  folder {folder}" for folder in done.folders),
        *(f"  view   {view}" for view in done.views),
        *(
            f"next: envforge install --offline --locked {shlex.quote(item.name)}"
            for item in done.index.environments
        ),
    ]
    return "\n".join(lines)


def packed_json(done: Packed) -> str:
    """The same as data."""
    return as_json(
        "pack",
        {
            "path": done.path or None,
            "dry_run": done.dry_run,
            "sha256": done.sha256 or None,
            "bytes": done.size or None,
            **_index(done.index),
            "resumed_files": done.resumed,
            "notes": list(done.notes),
            "seconds": round(done.seconds, 3),
        },
    )


def unpacked_json(done: Unpacked) -> str:
    """The same as data."""
    return as_json(
        "unpack",
        {
            "path": done.path or None,
            "dry_run": done.dry_run,
            "verified_bytes": done.read,
            **_index(done.index),
            "new": {"packages": done.packages, "wheels": done.wheels, "models": done.models},
            "folders": list(done.folders),
            "views": list(done.views),
            "seconds": round(done.seconds, 3),
        },
    )


def _index(index: PackIndex) -> dict[str, Any]:
    return {
        "platform": index.platform,
        "environments": [
            {"name": item.name, "files": list(item.files), "models": item.models}
            for item in index.environments
        ],
        "files": {
            kind: {"count": index.count(kind), "bytes": index.size_of(kind)} for kind, _ in _COUNTED
        },
        "bootstrap": bool(index.count("tool")),
    }


def _listed(index: PackIndex) -> Iterator[str]:
    for item in index.environments:
        yield f"  {item.name}{' with its models' if item.models else ''}"


def _holds(index: PackIndex) -> str:
    parts = [(index.count(kind), word, index.size_of(kind)) for kind, word in _COUNTED]
    return ", ".join(
        f"{counted(number, word)}{f' ({size(total)})' if total else ''}"
        for number, word, total in parts
        if number
    )


def _good(text: str) -> str:
    return click.style(text, fg="green")
