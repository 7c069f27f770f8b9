"""pylock.toml of any tool."""
# ruff: noqa: E501 - the files of a package stand in one line each

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.python import pylock_source
from envforge.model.imported import ImportedEnvironment

A, B, C = "a" * 64, "b" * 64, "c" * 64
TEXT = f"""\
lock-version = "1.0"
environments = ["sys_platform == 'linux' and platform_machine == 'x86_64'", "sys_platform == 'win32'"]
requires-python = "==3.11.*"
extras = ["gpu"]
created-by = "pip"

[[packages]]
name = "Torch"
version = "2.6.0+cu126"
index = "https://download.pytorch.org/whl/cu126"
dependencies = [{{name = "filelock"}}]
wheels = [
  {{name = "torch-2.6.0+cu126-cp311-cp311-manylinux_2_28_x86_64.whl", url = "https://f/torch-2.6.0%2Bcu126-cp311-cp311-manylinux_2_28_x86_64.whl", size = 5, hashes = {{sha256 = "{A}"}}}},
  {{url = "https://f/torch-2.6.0%2Bcu126-cp311-cp311-win_amd64.whl", hashes = {{sha256 = "{B}"}}}},
]

[[packages]]
name = "filelock"
version = "3.9"
sdist = {{url = "https://f/filelock-3.9.tar.gz", hashes = {{sha256 = "{C}"}}}}

[[packages]]
name = "colorama"
version = "0.4.6"
marker = "sys_platform == 'win32'"
wheels = [{{path = "wheels/colorama-0.4.6-py2.py3-none-any.whl", hashes = {{sha256 = "{C}"}}}}]

[[packages]]
name = "own"
directory = {{path = ".", editable = true}}

[[packages]]
name = "direct"
archive = {{url = "https://f/direct-1-py3-none-any.whl", hashes = {{sha256 = "{B}"}}}}

[[packages]]
name = "forked"
version = "1"
vcs = {{type = "git", url = "https://git.example/x", commit-id = "1"}}
"""


def read(text: str) -> ImportedEnvironment:
    return pylock_source.read_source(text, "pylock.toml")[0]


def test_each_platform_gets_the_file_that_an_installer_takes() -> None:
    lock = read(TEXT).lock

    assert lock is not None
    assert lock.platforms == ("linux-64", "win-64")
    assert [(item.name, item.version, item.sha256) for item in lock.for_platform("linux-64")] == [
        ("direct", "1", B),
        ("filelock", "3.9", C),
        ("forked", "1", ""),
        ("own", "", ""),
        ("torch", "2.6.0+cu126", A),
    ]
    windows = lock.find("torch", "win-64")
    assert windows is not None
    assert (windows.sha256, windows.depends, windows.size) == (B, ("filelock",), None)
    assert lock.find("colorama", "win-64") is not None


def test_what_a_lock_of_ours_cannot_hold_is_told() -> None:
    environment = read(TEXT)

    assert environment.local == ("own", "forked")
    assert environment.indexes == ("https://download.pytorch.org/whl/cu126",)
    assert environment.notes == ("`extras`: gpu", "built from source: filelock")
    assert [(item.name, item.version) for item in environment.dependencies] == [("python", "=3.11")]


def test_without_environments_a_platform_is_assumed() -> None:
    environment = read('lock-version = "1.0"\ncreated-by = "x"\nrequires-python = ">=3.9"\n')

    assert environment.platforms == ("linux-64",)
    assert environment.notes == ("platform linux-64 assumed",)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("lock-version = \n", "line 1, column 16: invalid value"),
        ('\nlock-version = "2.0"\n', "line 2: lock-version `2.0` is not read"),
        ('lock-version = "1.0"\n[[packages]]\nversion = "1"\n', "line 2: a package has no `name`"),
        (
            'lock-version = "1.0"\n[[packages]]\nname = "x"\n',
            "line 2: package `x` has none of wheels",
        ),
        (
            'lock-version = "1.0"\npackages = [{name = "x", wheels = [{hashes = {sha256 = "1"}}]}]\n',
            "package `x` has a file whose sha256 is none: `1`",
        ),
        ('lock-version = "1.0"\npackages = 3\n', "`packages` is no list of tables"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        read(text)

    assert mistake in str(caught.value)
