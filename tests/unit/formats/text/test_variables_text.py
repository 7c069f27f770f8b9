from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from envforge.errors import InvalidValue
from envforge.formats.text.variables_text import as_text
from envforge.model.views import VARIABLE_FORMATS, VariableFormat

HOSTILE = """it's "so" $(id) `x` \\ %h ä;&|"""


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("sh", "export A='/x'\nexport B='1'\n"),
        ("fish", "set -gx A '/x'\nset -gx B '1'\n"),
        ("powershell", "$env:A = '/x'\n$env:B = '1'\n"),
        ("docker", "--mount=type=bind,source=/x,target=/x\n--env=A=/x\n--env=B=1\n"),
        ("systemd", '[Service]\nEnvironment="A=/x"\nEnvironment="B=1"\n'),
        ("env-file", "A=/x\nB=1\n"),
    ],
)
def test_formats(form: VariableFormat, text: str) -> None:
    assert as_text({"A": "/x", "B": "1"}, form, folders=["/x"]) == text


def test_every_format_is_tried() -> None:
    assert set(VARIABLE_FORMATS) == {"sh", "fish", "powershell", "docker", "systemd", "env-file"}


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh"])
def test_shells_read_it_back(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    code = as_text({"A": HOSTILE}, "sh") + 'printf %s "$A"'

    assert (
        subprocess.run([shell, "-c", code], capture_output=True, text=True, check=True).stdout
        == HOSTILE
    )


def test_fish_reads_it_back() -> None:
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    code = as_text({"A": HOSTILE}, "fish") + 'printf %s "$A"'

    done = subprocess.run(
        ["fish", "--no-config", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == HOSTILE


def test_systemd_escapes_its_own() -> None:
    """systemd.syntax(7): quotes and backslashes; `%` begins a specifier."""
    assert (
        as_text({"A": 'a"b\\c%h $x'}, "systemd") == '[Service]\nEnvironment="A=a\\"b\\\\c%%h $x"\n'
    )
    with pytest.raises(InvalidValue, match="control characters"):
        as_text({"A": "a\nb"}, "systemd")


def test_docker_survives_word_splitting() -> None:
    text = as_text({"A": "/m/x-1.0@b"}, "docker", folders=["/m/x-1.0@b"])
    assert shlex.split(text) == text.split()
    for bad in ("/a b", "/a,b", '/a"b', "/a*", "/a$b", "/ä"):
        with pytest.raises(InvalidValue, match="docker"):
            as_text({"A": bad}, "docker")
        with pytest.raises(InvalidValue, match="docker"):
            as_text({}, "docker", folders=[bad])


def test_an_env_file_has_a_line_for_each() -> None:
    """What follows `=` is taken as it stands; a second line would be another variable."""
    assert as_text({"A": "it's $(x)"}, "env-file") == "A=it's $(x)\n"
    with pytest.raises(InvalidValue, match="line break"):
        as_text({"A": "/x\nLD_PRELOAD=/y"}, "env-file")
