"""`envforge explain`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from envforge.cli import options
from envforge.cli.rendering import render_report
from envforge.cli.rendering.plain_text import echo

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from envforge.forge import Forge
    from envforge.verify.check import Check

_WIDTH = 80


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from envforge.verify.registry import CHECKS

    return [CompletionItem(name) for name in CHECKS if name.startswith(incomplete)]


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=_complete)
@options.json_option
@options.forge_options
def command(forge: Forge, *, ids: tuple[str, ...], as_json: bool) -> None:
    """Say what a check of `verify` looks at: claim, cause, symptom, remedy and source.

    Without ID: the table of all checks.
    """
    checks = forge.checks()
    if not ids:
        render_report.show_checks(checks, as_json=as_json)
        return
    from envforge.verify.registry import chosen

    wanted = chosen(checks, only=ids)
    tested = forge.tested_checks()
    if as_json:
        rows = [explanation(name, wanted[name], tested) for name in dict.fromkeys(ids)]
        echo(json.dumps({"schema": "envforge.explain/1", "checks": rows}, indent=2))
        return
    shown = ["\n".join(_lines(name, wanted[name], tested)) for name in dict.fromkeys(ids)]
    echo("\n\n".join(shown))


def explanation(name: str, check: Check, tested: Mapping[str, str | None]) -> dict[str, Any]:
    """One check as plain data."""
    return {
        "check": name,
        "claim": check.claim,
        "level": check.level,
        "severity": check.severity,
        "symptom": check.symptom,
        "cause": check.cause,
        "remedy": check.fix,
        "why": check.why,
        "source": check.source,
        "after": list(check.after),
        "tested": name in tested and tested[name] is None,
        "untested_because": tested.get(name, "another package brings it") or "",
    }


def _lines(name: str, check: Check, tested: Mapping[str, str | None]) -> Iterator[str]:
    yield click.style(name, bold=True) + f" ({check.severity}, level {check.level})"
    facts = explanation(name, check, tested)
    for label in ("claim", "symptom", "cause", "remedy", "why", "source"):
        if facts[label]:
            yield from _row(label, facts[label])
    if check.after:
        yield from _row("not told", f"where one of these is found: {', '.join(check.after)}")
    because = facts["untested_because"]
    yield from _row(
        "tested", "yes, in a world built for it" if facts["tested"] else f"no: {because}"
    )


def _row(label: str, text: str) -> list[str]:
    first, rest = f"  {label.ljust(8)}  ", " " * 12
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    )
