from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.errors import InvalidValue
from envforge.formats.activation import (
    Activation,
    checked_variables,
    quote_fish,
    quote_posix,
    quote_powershell,
)


def test_conda_calls_an_environment_by_its_name_in_an_envs_folder_only() -> None:
    assert Activation(prefix="/home/me/.conda/envs/demo").name == "demo"
    assert Activation(prefix="/data/demo").name == "/data/demo"


def test_the_variables_are_condas() -> None:
    found = Activation(prefix="/x/envs/demo", variables={"A": "1"}).all_variables
    assert found == {
        "CONDA_PREFIX": "/x/envs/demo",
        "CONDA_DEFAULT_ENV": "demo",
        "CONDA_PROMPT_MODIFIER": "(demo) ",
        "CONDA_SHLVL": "1",
        "A": "1",
    }


def test_prompts_hold_nothing_that_a_shell_expands() -> None:
    """bash runs `$(…)` in PS1, and zsh expands `%`."""
    label = Activation(prefix="/data/$(reboot)`x`%n/demo").label
    assert not set(label) & set("$()`%")


def test_variables_are_sorted() -> None:
    assert list(checked_variables({"B": "1", "A": "2"})) == ["A", "B"]


@pytest.mark.parametrize("name", ["", "A B", "A;reboot", "1A", "A-B", "A\n", "$(id)"])
def test_names_that_no_shell_allows_are_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="activation variable"):
        checked_variables({name: "x"})


def test_values_with_a_nul_are_refused() -> None:
    with pytest.raises(InvalidValue, match="NUL"):
        checked_variables({"A": "x\0y"})


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_posix_words_come_back_as_they_were(text: str) -> None:
    assert shlex.split(quote_posix(text)) == [text]


def test_fish_escapes_backslashes_too() -> None:
    assert quote_fish("a'b\\c") == r"'a\'b\\c'"


def test_powershell_doubles_typographic_quotes_too() -> None:
    assert quote_powershell("it's \u2019so\u201b") == "'it''s \u2019\u2019so\u201b\u201b'"
