"""What was published, for people and for programs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click

from envforge.cli.rendering.shown import as_json
from envforge.formats.text.printable import one_line
from envforge.model.published import PublishedVersion, PublishResult
from envforge.model.wording import listed

_STAMP = "%Y-%m-%d %H:%M"
_USERS = 3


def as_document(command: str, result: PublishResult) -> str:
    """JSON of a publication, or of going back."""
    document = {
        "published": True,
        "name": result.name,
        "link": str(result.link),
        "dry_run": result.dry_run,
        "is_new": result.is_new,
        "version": _version(result.version),
        "before": _version(result.before) if result.before else None,
        "verified": None if result.report is None else result.report.level,
        "removed": [_version(item) for item in result.removed],
        "kept": [{**_version(item.version), "reason": item.reason} for item in result.kept],
    }
    return as_json(command, document)


def list_document(name: str, versions: Sequence[PublishedVersion]) -> str:
    """JSON of all versions."""
    return as_json("rollback", {"name": name, "versions": [_version(item) for item in versions]})


def _version(item: PublishedVersion) -> dict[str, Any]:
    return {
        "number": item.number,
        "prefix": str(item.prefix),
        "lock": item.digest,
        "published": item.published or None,
        "retired": item.retired,
        "is_current": item.is_current,
        "users": list(item.users),
    }


def show(result: PublishResult, done: str) -> None:
    """For people: what the link leads to, and what became of older versions."""
    link, number = one_line(str(result.link)), result.version.number
    before = f", before it was {result.before.number}" if result.before else ""
    if result.dry_run:
        click.echo(f"would lead {link} to version {number}{before if result.is_new else ''}")
        return
    if not result.is_new:
        click.echo(f"{link} is version {number} already, with the same packages")
    else:
        word = click.style(done, fg="green", bold=True)
        click.echo(f"{word} {link}: version {number}{before}")
        click.echo(f"  prefix    {one_line(str(result.version.prefix))}")
        if result.report is not None:
            click.echo(f"  verified  {result.report.level}, no problem found")
    for version in result.removed:
        click.echo(f"  removed   version {version.number}")
    for item in result.kept:
        click.echo(f"  kept      version {item.version.number}: {item.reason}")


def show_versions(versions: Sequence[PublishedVersion]) -> None:
    """A line each, newest last."""
    for item in versions:
        mark = "*" if item.is_current else " "
        stamp = time.strftime(_STAMP, time.localtime(item.published))
        left = "current" if item.is_current else _left(item)
        users = f"; used by {listed(item.users, _USERS)}" if item.users else ""
        click.echo(f"{mark} {item.number:>4}  {stamp}  {left}{users}")


def _left(item: PublishedVersion) -> str:
    if item.retired is None:
        return "not current"
    return f"left {time.strftime(_STAMP, time.localtime(item.retired))}"
