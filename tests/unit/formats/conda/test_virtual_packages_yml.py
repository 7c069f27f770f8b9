"""virtual-packages.yml in conda-lock's format."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.conda import virtual_packages_yml
from envforge.model.machine import Platform
from envforge.model.spec import VirtualPackage

TEXT = """\
# The machine this environment is for.
subdirs:
  linux-64:
    packages:
      __archspec: '1 x86_64'
      __cuda: '11.8'
  osx-arm64:
    packages: {}
"""
MACHINES: dict[Platform, tuple[VirtualPackage, ...]] = {
    "osx-arm64": (),
    "linux-64": (
        VirtualPackage(name="__cuda", version="11.8"),
        VirtualPackage(name="__archspec", version="1", build="x86_64"),
    ),
}


def test_written_sorted() -> None:
    assert virtual_packages_yml.write(MACHINES, "The machine this environment is for.") == TEXT


def test_read_again() -> None:
    read = virtual_packages_yml.read(TEXT, "virtual-packages.yml")

    assert read == {name: tuple(sorted(packages)) for name, packages in MACHINES.items()}


def test_no_platforms() -> None:
    text = virtual_packages_yml.write({})

    assert virtual_packages_yml.read(text, "x.yml") == {}


def test_conda_locks_own_example() -> None:
    """Double quotes, and packages we do not know."""
    text = 'subdirs:\n  win-64:\n    packages:\n      __win: "0"\n      __new: "1.2"\n'

    assert virtual_packages_yml.read(text, "x.yml") == {
        "win-64": (
            VirtualPackage(name="__new", version="1.2"),
            VirtualPackage(name="__win", version="0"),
        )
    }


def test_every_mistake_at_once() -> None:
    text = """\
subdirs:
  linux64:
    packages: {}
  linux-64:
    packages:
      __cuda: 11.8
      cuda: '11.8'
      __glibc: '2.28 0'
      __linux: 'a b c'
  win-64:
    pakcages: {}
  osx-arm64: [a]
"""
    with pytest.raises(InvalidFile) as caught:
        virtual_packages_yml.read(text, "virtual-packages.yml")

    starts = [
        "line 3, column 5: `linux64` is no platform that can be locked; did you mean `linux-64`?",
        "line 6, column 15: `__cuda` is the number `11.8`, and should be text; write `'11.8'`",
        "line 7, column 13: `cuda` is no virtual package: their names start with `__`; did you",
        "line 8, column 16: `__glibc`: leave out the build `0`",
        "line 9, column 16: `__linux` is `a b c`, and should be a version",
        "line 11, column 5: `pakcages`: unknown key; did you mean `packages`?",
        "line 11, column 5: `win-64` has no `packages`",
        "line 12, column 14: `osx-arm64` is a list",
    ]
    assert len(caught.value.mistakes) == len(starts), caught.value.mistakes
    for mistake, start in zip(caught.value.mistakes, starts, strict=True):
        assert mistake.startswith(start), mistake


@pytest.mark.parametrize(
    ("text", "mistake"), [("a: b\n", "`subdirs` is missing"), ("[a]\n", "the file is a list")]
)
def test_another_file(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        virtual_packages_yml.read(text, "x.yml")

    assert mistake in str(caught.value)
