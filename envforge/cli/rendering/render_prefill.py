"""What `cache prefill` did, as text and as JSON."""

from __future__ import annotations

import shlex
from typing import Any

import click

from envforge.cli.failure import to_paste
from envforge.cli.rendering.render import size
from envforge.model.fetching import Prefilled
from envforge.model.wording import counted


def document(done: Prefilled) -> dict[str, Any]:
    """Counts and bytes, and each file that was missing."""
    return {
        "store": done.store,
        "dry_run": done.dry_run,
        "present": {
            "files": len(done.plan.present),
            "bytes": sum(item.size for item in done.plan.present),
        },
        "missing": {
            "files": len(done.plan.missing),
            "bytes": done.plan.missing_bytes,
            "bytes_at_hand": done.plan.at_hand,
        },
        "fetched": {
            "files": done.fetched.files,
            "bytes": done.fetched.payload,
            "files_by_others": done.fetched.by_others,
        },
        "files": [
            {
                "repo": item.repo.id,
                "kind": item.repo.kind,
                "path": item.path,
                "bytes": item.size,
                "sha256": item.sha256 or None,
            }
            for item in done.plan.missing
        ],
        "views": list(done.views),
        "seconds": round(done.seconds, 3),
    }


def show(done: Prefilled) -> None:
    """One line for the store, one for each view."""
    there = _files(len(done.plan.present))
    missing = _files(len(done.plan.missing))
    if done.dry_run:
        kept = f", {size(done.plan.at_hand)} of it kept from before" if done.plan.at_hand else ""
        amount = f" ({size(done.plan.missing_bytes)}{kept})" if done.plan.missing else ""
        click.echo(f"would fetch {missing}{amount} into {done.store}; {there} there")
        return
    if not done.plan.missing:
        click.echo(f"{_good('complete')} {done.store}: {there} there, nothing to fetch")
    else:
        others = done.fetched.by_others
        by_others = f", {_files(others)} fetched by another process" if others else ""
        click.echo(
            f"{_good('prefilled')} {done.store}: {_files(done.fetched.files)} fetched"
            f" ({size(done.fetched.payload)}, {done.seconds:.1f} s){by_others}; {there} there"
        )
    for path in done.views:
        click.echo(f"  view {path}")
    if done.repos:
        shown = " ".join(f"--model {shlex.quote(name)}" for name in done.repos)
        click.echo(f"next: {to_paste(f'envforge cache view ./models {shown}')}")


def _files(number: int) -> str:
    return counted(number, "file")


def _good(text: str) -> str:
    return click.style(text, fg="green")
