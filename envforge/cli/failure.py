"""How errors look: two lines on stderr, or one JSON document on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import Any

import click

from envforge.errors import EnvforgeError

SCHEMA = "envforge.error/1"


def show_error(error: EnvforgeError | click.UsageError) -> None:
    """Print what happened and the remedy, in the form the command line asked for."""
    if _wants_json():
        click.echo(json.dumps(error_document(error), indent=2, default=str))
        return
    label = click.style("error:", fg="red", bold=True)
    click.echo(f"{label} {_message(error)}", err=True)
    hint = getattr(error, "hint", None)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan', bold=True)} {hint}", err=True)


def error_document(error: EnvforgeError | click.UsageError) -> dict[str, Any]:
    """The error as data: stable code, sentence, remedy, facts."""
    return {
        "schema": SCHEMA,
        "error": {
            "code": getattr(error, "code", "usage"),
            "exit_code": error.exit_code,
            "message": _message(error),
            "hint": getattr(error, "hint", None),
            "facts": asdict(error) if is_dataclass(error) and not isinstance(error, type) else {},
        },
    }


def _message(error: EnvforgeError | click.UsageError) -> str:
    return str(error) if isinstance(error, EnvforgeError) else error.format_message()


def _wants_json() -> bool:
    context = click.get_current_context(silent=True)
    inner = context
    while inner is not None:
        if inner.params.get("as_json"):
            return True
        inner = inner.parent
    return "--json" in sys.argv[1:]
