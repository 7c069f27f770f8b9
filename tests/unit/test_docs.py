"""The README names every command, exit code and setting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from envforge import errors
from envforge.adapters.settings import KEYS
from envforge.cli import COMMANDS, cli
from envforge.cli.cache import COMMANDS as CACHE_COMMANDS

WORDS = [[name] for name in COMMANDS] + [["cache", name] for name in CACHE_COMMANDS]
"""Every command, as it is typed."""
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def _families(root: type[errors.EnvforgeError]) -> Iterator[type[errors.EnvforgeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _families(child)


def test_every_command_is_in_the_readme() -> None:
    assert [words for words in WORDS if f"`envforge {' '.join(words)}" not in README] == []


def test_every_exit_code_is_in_the_readme() -> None:
    codes = {kind.exit_code for kind in _families(errors.EnvforgeError)} | {0, 1, 130}

    assert [code for code in codes if f"\n| {code} | " not in README] == []


def test_every_setting_is_in_the_readme() -> None:
    variables = [f"ENVFORGE_{key.upper().replace('-', '_')}" for key in KEYS]

    assert [key for key in [*KEYS, *variables] if f"`{key}`" not in README] == []


def test_every_option_that_the_readme_names_exists() -> None:
    ours = re.sub(r"^docker .*$", "", README, flags=re.MULTILINE)
    named = set(re.findall(r"`(?!conda-lock)(?:[^`]* )?(--[a-z-]+)", ours))
    helps = "".join(
        CliRunner().invoke(cli, [*words, "--help"], catch_exceptions=False).output
        for words in WORDS
    )

    assert [option for option in named if option not in helps] == []


def test_help_shows_what_the_commands_say_of_themselves() -> None:
    """The table that spares `--help` the imports agrees with the commands."""
    for words in WORDS:
        output = CliRunner().invoke(cli, [*words, "--help"], catch_exceptions=False).output
        assert output.startswith("Usage: "), words


def test_the_error_tree_is_drawn_whole() -> None:
    drawn = errors.__doc__ or ""
    for kind in _families(errors.EnvforgeError):
        assert re.search(rf"\b{kind.__name__}\b", drawn), f"{kind.__name__} is not drawn"
        assert kind.code in drawn or kind in {
            errors.EnvforgeError,
            errors.UsageError,
            errors.MatrixError,
            errors.LockError,
            errors.InstallError,
            errors.CacheError,
            errors.OutsideError,
        }
