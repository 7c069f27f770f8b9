"""YAML scalars that stay strings, and the places of mistakes."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from envforge.errors import InvalidFile
from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node

ODD = [
    *("1.0", "1", "2023e05", "1e5", "12e03", "0x1", "0o7", "0b1", "007", "1_000", "1:30"),
    *("190:20:30", "true", "True", "yes", "No", "on", "OFF", "y", "n", "null", "~", "", "="),
    *("<<", ".inf", "-.INF", ".nan", "2024-01-01", "2001-12-14 21:59:43.10 -5", "+1", "-1"),
    *(".5", "5.", "1.2.3", "1,000", "a: b", "a #b", "- a", "? a", "a:", "[a]", "{a}", "&a"),
    *("*a", "!a", "|", ">", "%a", "@a", "`a", " a", "a ", "'a'", '"a"', "it's", "a\nb", "a\tb"),
    *("\x00", "\x85", "\u2028", "ü", "\ufeff", "\U0001f600", "---", "...", "0.10.1", "{}", "[]"),
    *("3.10.* *_cp310", ">=1,<2", "<4.0", "sha256:abc", "https://h/x#y=z", "0b2", "#", "-"),
    *("12e" + "5" * 61, "1" * 64, "0b" + "1" * 30, "a\\b", "_", "__cuda"),
]
ruamel_1_2 = YAML(typ="safe", pure=True)
ruamel_1_1 = YAML(typ="safe", pure=True)
ruamel_1_1.version = (1, 1)

TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12
) | st.from_regex(r"[-+]?[0-9._:exob+-]{1,8}", fullmatch=True)


def with_examples(function):  # type: ignore[no-untyped-def]
    for text in ODD:
        function = example(text)(function)
    return function


@with_examples
@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_a_scalar_comes_back_as_a_string(text: str) -> None:
    """To YAML 1.1 and 1.2 readers, as a value and as a key."""
    line = f"{yaml_text.scalar(text)}: {yaml_text.scalar(text)}\n"

    assert yaml.safe_load(line) == {text: text}
    assert ruamel_1_2.load(line) == {text: text}
    assert ruamel_1_1.load(line) == {text: text}


@with_examples
@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_what_pyyaml_writes_bare_is_a_string(text: str) -> None:
    """conda-lock writes so: a bare scalar that PyYAML means as text is never refused."""
    dumped = yaml.safe_dump({"k": text}, width=10_000, allow_unicode=True)
    bare = dumped.removeprefix("k: ").removesuffix("\n")

    if bare == text:
        assert yaml_text.is_string_in_yaml_1_1(text)


@pytest.mark.parametrize(
    "text", ["2.0.1", "numpy", "a-b_c", "https://h/a/b.conda", "1.2.3.4", "2.0+cu"]
)
def test_common_scalars_stay_bare(text: str) -> None:
    assert yaml_text.scalar(text) == text


def test_quotes_can_be_chosen() -> None:
    assert yaml_text.quoted("a'b") == "'a''b'"
    assert yaml_text.quoted('a"b', '"') == r'"a\"b"'


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: b\n\tc: d\n", "line 2, column 1: a tab stands where YAML wants spaces"),
        ("a: [b\n", "line 2, column 1: expected"),
        ("a: 'b\n", "line 1, column 4|while scanning|line 2"),
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("a: &x 1\nb: *x\n", "line 1, column 4: anchors and aliases"),
        ("a: !!python/name:os.system x\n", "line 1, column 4: the tag"),
        ("a: !x [b]\n", "line 1, column 4: the tag"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: .*found another document"),
        ("a: 1\n\x01\n", "line 2: a character that YAML does not allow"),
        ("[" * 2000, "nested too deeply"),
        ("a: *nothing\n", "line 1, column 4: "),
    ],
)
def test_syntax_errors_have_a_place(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        yaml_text.parse(text, "x.yml")

    assert len(caught.value.mistakes) == 1
    assert re.search(mistake, caught.value.mistakes[0]), caught.value.mistakes


def test_an_anchor_that_stands_twice_is_refused_as_any_other() -> None:
    """ruamel.yaml would warn of it on standard error first."""
    with pytest.raises(InvalidFile, match="line 1, column 4: anchors and aliases"):
        yaml_text.parse("a: &x 1\nb: &x 2\n", "f")


def test_merge_conflict_markers_are_named() -> None:
    text = "a: 1\n<<<<<<< HEAD\nb: 1\n||||||| base\n=======\r\nb: 2\n>>>>>>> other\n"

    with pytest.raises(InvalidFile) as caught:
        yaml_text.parse(text, "x.yml")

    assert caught.value.mistakes == tuple(
        f"line {line}: a merge conflict marker" for line in (2, 4, 5, 7)
    )
    assert caught.value.hint is not None


def test_nodes_know_their_places() -> None:
    text = "a:\r\n  - 'x y'  # c\r\nb: {c: d}\r\n"

    root = yaml_text.parse(text, "x.yml")

    (_, listed), (_, flow) = root.pairs
    assert (listed.kind, flow.flow, listed.items[0].quote) == ("list", True, "'")
    assert text[listed.items[0].start : listed.items[0].end] == "'x y'"
    assert listed.items[0].place == "line 2, column 5"


def found(text: str) -> tuple[Node, Mistakes]:
    return yaml_text.parse(text, "x.yml"), Mistakes("x.yml")


def test_all_mistakes_come_at_once_in_the_order_of_the_text() -> None:
    root, mistakes = found("nmae: 1\nname: x\nname: y\nplatforms: 1.10\nchannels: [1.0, b, [c]]\n")

    fields = yaml_text.mapping(root, "the file", mistakes, ("name", "platforms", "channels"))
    assert yaml_text.strings(fields["channels"], "`channels`", mistakes)[0][1] == "b"
    assert yaml_text.items(fields["platforms"], "`platforms`", mistakes) == ()
    with pytest.raises(InvalidFile) as caught:
        mistakes.raise_any("do this")

    assert caught.value.mistakes == (
        "line 1, column 1: `nmae`: unknown key; did you mean `name`?",
        "line 3, column 1: `name` stands here a second time (first in line 2)",
        "line 4, column 12: `platforms` is the number `1.10`, and should be a list",
        (
            "line 5, column 12: an item of `channels` is the number `1.0`, and should be text;"
            " write `'1.0'`"
        ),
        "line 5, column 20: an item of `channels` is a list, and should be text",
    )
    assert caught.value.hint == "do this"


def test_no_mistakes_raise_nothing() -> None:
    Mistakes("x.yml").raise_any()


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("a: [b]", "a list"),
        ("a: {b: c}", "a mapping"),
        ("a:", "empty"),
        ("a: text", "the text `text`"),
        ("a: yes", "the YAML value `yes`"),
        ("a: ~", "the YAML value `~`"),
        ("a: 0x1", "the number `0x1`"),
    ],
)
def test_what_stands_there_is_described(text: str, description: str) -> None:
    [(_, node)] = yaml_text.parse(text, "x.yml").pairs

    assert yaml_text.described(node) == description


def test_a_list_is_no_mapping() -> None:
    root, mistakes = found("[a]")

    assert yaml_text.mapping(root, "the file", mistakes) == {}
    assert "the file is a list" in mistakes.found[0][2]
