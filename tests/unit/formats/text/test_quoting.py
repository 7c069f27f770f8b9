"""Whatever a text holds, its language's own reader gives it back; or it is refused."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from envforge.errors import InvalidValue
from envforge.formats.text import quoting

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NASTY = st.text(
    st.one_of(
        st.sampled_from("'\"\\$`(){}[]%;|&<>!#:-=,~*? \t\n\r\x00\x1b\u2028é😀"), st.characters()
    ),
    max_size=30,
)
WORDS = st.sampled_from(
    ["$(id)", "${HOME}", "{{ x }}", "%post", "%h", "a;b", "yes", "1e5", "#", "- x", "'", '"', "\\"]
)
TEXT = st.one_of(NASTY, st.lists(WORDS, min_size=1, max_size=4).map("".join))


def carried(quote: Callable[[str], str], text: str) -> str | None:
    """The quoted text; None: refused, which is told in printable words."""
    refused = None
    try:
        return quote(text)
    except InvalidValue as error:
        refused = str(error)
    assert refused.isprintable()
    return None


@given(TEXT)
def test_shell(text: str) -> None:
    if (found := carried(quoting.shell, text)) is None:
        assert "\0" in text or not _is_unicode(text)
    else:
        assert shlex.split(found) == [text]


@given(st.lists(TEXT, min_size=20, max_size=40))
@settings(max_examples=8, deadline=None)
def test_a_shell_itself(texts: list[str]) -> None:
    kept = [text for text in texts if carried(quoting.shell, text) is not None]
    words = " ".join(map(quoting.shell, kept))
    done = subprocess.run(["sh", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == (kept or [""])


@given(TEXT)
def test_yaml(text: str) -> None:
    found = carried(quoting.yaml, text)
    if found is not None:
        assert "\n" not in found
        assert YAML(typ="safe", pure=True).load(f"k: {found}\n") == {"k": text}
        assert pyyaml.safe_load(f"- {found}\n") == [text]
        assert pyyaml.safe_load(f"[a, {found}, {{b: {found}}}]\n") == ["a", text, {"b": text}]


@given(TEXT)
def test_compose(text: str) -> None:
    found = carried(quoting.compose, text)
    if found is not None:
        loaded = YAML(typ="safe", pure=True).load(f"k: {found}\n")["k"]
        assert loaded.replace("$$", "").count("$") == 0
        assert loaded.replace("$$", "$") == text


@given(TEXT)
def test_json(text: str) -> None:
    found = carried(quoting.json_string, text)
    assert found is None or json.loads(found) == text


@given(TEXT)
def test_devcontainer(text: str) -> None:
    found = carried(quoting.devcontainer, text)
    assert (found is None) == ("${" in text or not _is_unicode(text))
    assert found is None or json.loads(found) == text


@given(TEXT)
def test_toml(text: str) -> None:
    found = carried(quoting.toml, text)
    assert found is None or tomllib.loads(f"k = {found}\n") == {"k": text}


@given(TEXT)
def test_dockerfile(text: str) -> None:
    found = carried(quoting.dockerfile, text)
    if found is not None:
        assert "\n" not in found
        assert _expanded(found) == text
        from dockerfile_parse import DockerfileParser

        parser = DockerfileParser(fileobj=io.BytesIO(f"FROM x\nLABEL a={found} b=1\n".encode()))
        assert [item["instruction"] for item in parser.structure] == ["FROM", "LABEL"]


@given(TEXT)
def test_a_run_instruction(text: str) -> None:
    found = carried(quoting.docker_shell, text)
    if found is not None:
        assert len(found.splitlines()) == 1
        assert not found.endswith("\\")
        assert shlex.split(found) == [text]


@given(TEXT)
def test_apptainer(text: str) -> None:
    found = carried(quoting.apptainer, text)
    if found is not None:
        assert "{{" not in found
        assert len(found.splitlines()) == 1
        assert shlex.split(found) == [text]


@given(TEXT)
def test_systemd(text: str) -> None:
    for quote, dollars in ((quoting.systemd, "$"), (quoting.systemd_command, "$$")):
        found = carried(quote, text)
        if found is not None:
            assert found[0] == found[-1] == '"'
            assert len(found.splitlines()) == 1
            inside = found[1:-1].replace("%%", "%").replace(dollars, "$")
            assert inside.replace('\\"', '"').replace("\\\\", "\\") == text or "\\" in text


@pytest.mark.skipif(not shutil.which("lua") and not shutil.which("lua5.4"), reason="no lua")
@given(st.lists(TEXT, min_size=20, max_size=40))
@settings(max_examples=4, deadline=None)
def test_lua(texts: list[str]) -> None:
    kept = [text for text in texts if carried(quoting.lua, text) is not None]
    code = (
        f"for _, v in ipairs({{{', '.join(map(quoting.lua, kept))}}}) do io.write(#v, ' ', v) end"
    )
    program = shutil.which("lua") or shutil.which("lua5.4")
    done = subprocess.run([str(program), "-"], input=code.encode(), capture_output=True, check=True)
    raw = [text.encode() for text in kept]
    assert done.stdout == b"".join(b"%d %s" % (len(item), item) for item in raw)


@given(TEXT)
def test_lua_stays_on_its_line(text: str) -> None:
    found = carried(quoting.lua, text)
    if found is not None:
        assert not set(found) & set("\r\n")
        assert '"' not in found[1:-1]


@given(TEXT)
def test_a_comment_ends_with_its_line_and_shows_all(text: str) -> None:
    found = quoting.comment(text)
    assert len(found) == len(text)
    assert len(f"# {found}.".splitlines()) == 1
    assert not set(found) & set("\x1b\u202e")


@given(TEXT)
def test_a_plain_word(text: str) -> None:
    found = carried(quoting.plain, text)
    assert found is None or (found == text and shlex.split(text) == [text])


@pytest.mark.parametrize("name", quoting.FILTERS)
def test_no_filter_lets_half_a_character_pass(name: str) -> None:
    if name == "comment":
        assert quoting.comment("\ud800") == "?"
    else:
        with pytest.raises(InvalidValue):
            quoting.FILTERS[name]("a\ud800")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _expanded(word: str) -> str:
    """What BuildKit's `shell.Lex` makes of a word in double quotes."""
    assert word[0] == word[-1] == '"'
    text, place = "", 1
    while place < len(word) - 1:
        char = word[place]
        if char == "\\" and word[place + 1] in '"$\\':
            place += 1
            char = word[place]
        else:
            assert char not in '"$', word
        text += char
        place += 1
    return text
