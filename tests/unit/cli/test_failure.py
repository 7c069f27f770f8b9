"""How errors look."""

from __future__ import annotations

import json
from collections.abc import Callable

import click
import pytest

from envforge.cli import cli
from envforge.cli.failure import AS_JSON, PLACES, error_document, show_error, wants_json
from envforge.errors import CacheError, InvalidFile, StaleLock, Unsolvable

STALE = StaleLock(path="envs/x/conda-lock.yml", reasons=("a", "b"), remedy="`envforge lock x`")


def test_two_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(STALE)

    assert capsys.readouterr() == (
        "",
        "error: `envs/x/conda-lock.yml` is not current: a; b\nhint: `envforge lock x`\n",
    )


def test_no_hint_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(InvalidFile(path="x", mistakes=("one", "two")))

    assert capsys.readouterr().err == "error: `x`:\n  one\n  two\n"


def test_errors_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(click.UsageError("no such thing"))

    assert capsys.readouterr().err == "error: no such thing\n"


def test_json_where_it_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert not wants_json()
    with click.Context(cli) as context:
        assert not wants_json()
        context.meta[AS_JSON] = True
        with click.Context(cli, parent=context):
            assert wants_json()
            show_error(STALE)
    out, err = capsys.readouterr()

    assert err == ""
    assert json.loads(out)["error"]["facts"]["reasons"] == ["a", "b"]


def test_the_document_is_what_it_was(golden: Callable[[str, str], None]) -> None:
    """Fields are the facts; other programs read them."""
    error = Unsolvable(
        platform="linux-64",
        explanation="numpy 9 does not exist",
        nearest=("envforge lock p --torch 2.7.1 --cuda 12.6",),
        spellings={"nunpy": ("numpy",)},
    )
    golden("error.json", json.dumps(error_document(error), indent=2, default=str) + "\n")


def test_an_error_without_facts() -> None:
    document = error_document(CacheError("full"))["error"]

    assert document == {
        "code": "cache",
        "exit_code": 6,
        "message": "full",
        "hint": None,
        "facts": {},
    }


def test_commands_to_copy_look_where_this_one_looked(capsys: pytest.CaptureFixture[str]) -> None:
    error = Unsolvable(
        platform="linux-64", explanation="no", nearest=("envforge lock p --torch 2.7.1 --cuda cpu",)
    )
    with click.Context(cli) as context:
        context.meta[PLACES] = " --mirror '/a b'"
        show_error(error)

    assert "  envforge lock p --torch 2.7.1 --cuda cpu --mirror '/a b'\n" in capsys.readouterr().err


def test_what_moves_a_cursor_is_shown_and_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(InvalidFile(path="x", mistakes=("`a\x1b[2J`",), remedy="look at `\x1b]0;b\x07`"))

    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "`a\\x1b[2J`" in said
