"""Compiled code of an environment, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from envforge.cli.rendering import shown
from envforge.cli.rendering.plain_text import echo
from envforge.formats.text.printable import one_line, printable_document
from envforge.model.compile_cache import CompileCache, CompileChange, CompileTrial
from envforge.model.wording import counted

_SCHEMA: Final = "cache-compile"


def show(found: CompileCache, *, as_json: bool = False) -> None:
    """What there is."""
    if as_json:
        _print(_cache(found))
        return
    echo(f"{found.environment} on {found.machine}: {shown.size(found.size)}")
    echo(f"  {one_line(str(found.place))}")
    for item in found.usage:
        linked = f", {counted(item.linked, 'file')} linked" if item.linked else ""
        files = counted(item.files, "file")
        echo(f"  {item.kind:<9} {shown.size(item.size):>9}  {files}{linked}")
    if found.seed_files:
        echo(f"shared: {shown.size(found.seed_size)} in {counted(found.seed_files, 'file')}")
        echo(f"  {one_line(str(found.seed))}")
    else:
        echo(f"shared: nothing; its owner can: envforge cache compile {found.environment} --share")
    for machine, size in found.others:
        echo(f"also for {machine}: {shown.size(size)}")


def show_change(change: CompileChange, *, as_json: bool = False) -> None:
    """What was done."""
    if as_json:
        document = {
            "task": change.task,
            "files": change.files,
            "bytes": change.size,
            "where": str(change.where),
            "sha256": change.sha256 or None,
            "dry_run": change.dry_run,
            **_cache(change.cache),
        }
        _print(document)
        return
    task = "would be collected" if change.dry_run else change.task
    echo(f"{task}: {counted(change.files, 'file')}, {shown.size(change.size)}")
    echo(f"  {one_line(str(change.where))}")
    if change.sha256:
        echo(f"  sha256 {change.sha256}")


def show_trial(tried: CompileTrial, *, as_json: bool = False) -> None:
    """Hit or miss."""
    if as_json:
        _print({"task": "tried", "verdict": tried.verdict, **asdict(tried)})
        return
    if tried.skipped:
        echo(f"nothing was compiled: {one_line(tried.skipped)}")
        return
    misses = f"{tried.misses} miss{'' if tried.misses == 1 else 'es'}"
    counts = f"{counted(tried.hits, 'hit')}, {misses}"
    echo(f"{tried.verdict}: {counts}, {tried.seconds:g} s, on {tried.machine}")
    echo(f"  {one_line(tried.place)}")


def _cache(found: CompileCache) -> dict[str, Any]:
    return {
        "environment": found.environment,
        "prefix": str(found.prefix),
        "machine": found.machine,
        "place": str(found.place),
        "usage": [{**asdict(item), "path": str(item.path)} for item in found.usage],
        "seed": {
            "path": str(found.seed),
            "files": found.seed_files,
            "bytes": found.seed_size,
        },
        "others": [{"machine": machine, "bytes": size} for machine, size in found.others],
    }


def _print(document: dict[str, Any]) -> None:
    echo(shown.as_json(_SCHEMA, printable_document(document)))
