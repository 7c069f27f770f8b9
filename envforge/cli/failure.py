"""How errors look: two lines on stderr, or one JSON document on stdout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import click

from envforge.errors import EnvforgeError

SCHEMA: Final = "envforge.error/1"
AS_JSON: Final = "envforge.as_json"
"""Key in click's `meta`: whether the command line asked for JSON."""
PLACES: Final = "envforge.places"
"""Key in click's `meta`: the options `--mirror`, `--envs` and `--offline` as they were given."""
STORE: Final = "envforge.store-option"
"""Key in click's `meta`: `--store`, and `--envs`, as they were given."""
_COMMANDS: Final = re.compile(r"^( +envforge (?:create|lock) .*)$", re.MULTILINE)
_OF_CACHE: Final = re.compile(
    r"\benvforge cache (?:init|lock|diff|prefill|view|env|serve|scan|adopt|verify|gc|prove|doctor)"
    r"\b(?! --store)"
)


def show_error(error: EnvforgeError | click.UsageError) -> None:
    """Print what happened and the remedy, in the form the command line asked for."""
    if wants_json():
        click.echo(json.dumps(error_document(error), indent=2, default=str))
        return
    from envforge.formats.text.printable import clean

    label = click.style("error:", fg="red", bold=True)
    click.echo(f"{label} {clean(_message(error))}", err=True)
    hint = _hint(error)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan', bold=True)} {clean(hint)}", err=True)


def error_document(error: EnvforgeError | click.UsageError) -> dict[str, Any]:
    """The error as data: stable code, sentence, remedy, facts."""
    return {
        "schema": SCHEMA,
        "error": {
            "code": getattr(error, "code", "usage"),
            "exit_code": error.exit_code,
            "message": _message(error),
            "hint": _hint(error),
            "facts": _facts(error),
        },
    }


def _hint(error: Exception) -> str | None:
    """The remedy; commands to copy in it look where this command line looked."""
    hint: str | None = getattr(error, "hint", None)
    context = click.get_current_context(silent=True)
    places: str = context.meta.get(PLACES, "") if context else ""
    if not hint:
        return None
    return _hidden(to_paste(_COMMANDS.sub(lambda found: f"{found[1]}{places}", hint)))


def to_paste(text: str) -> str:
    """Let the commands of `envforge cache` in a text look where this command line looked."""
    context = click.get_current_context(silent=True)
    given: str = context.meta.get(STORE, "") if context else ""
    return _OF_CACHE.sub(lambda found: f"{found[0]}{given}", text)


def _facts(error: Exception) -> dict[str, Any]:
    return (
        {item.name: _shown(getattr(error, item.name)) for item in fields(error)}
        if is_dataclass(error)
        else {}
    )


def _hidden(text: str) -> str:
    """Without the credentials of addresses; imported where something went wrong only."""
    from envforge.formats.text.secret_shapes import hide

    return hide(text)


def _shown(value: Any) -> Any:
    """A fact without credentials, whatever it is made of."""
    if isinstance(value, str):
        return _hidden(value)
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    return value


def _message(error: EnvforgeError | click.UsageError) -> str:
    return _hidden(str(error) if isinstance(error, EnvforgeError) else error.format_message())


def wants_json() -> bool:
    """Whether the command line that is being carried out asked for JSON."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(AS_JSON))
