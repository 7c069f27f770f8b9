"""Which Python a pack brings, and which of its files."""

from __future__ import annotations

import pytest
from fakes.installing import conda_package, wheel

from envforge.team import pack_tool

OPENSSL = conda_package("openssl", "3.5", depends=("ca-certificates", "__glibc >=2.17"))
CERTIFICATES = conda_package("ca-certificates", "2025")


def python(version: str) -> object:
    return conda_package("python", version, depends=("openssl >=3,<4", "tzdata"))


def test_the_newest_that_runs_envforge_is_taken_with_all_it_needs() -> None:
    old = (python("3.10.2"), OPENSSL, CERTIFICATES)
    new = (python("3.12.1"), OPENSSL, CERTIFICATES, conda_package("numpy"), wheel("tzdata"))

    found = pack_tool.choose_python([old, new])  # type: ignore[list-item]

    assert [(item.name, item.version) for item in found] == [
        ("ca-certificates", "2025"),
        ("openssl", "3.5"),
        ("python", "3.12.1"),
    ]


@pytest.mark.parametrize("version", ["3.9.19", "3.8", "strange"])
def test_one_that_is_too_old_is_none(version: str) -> None:
    assert pack_tool.choose_python([(python(version),), ()]) == ()  # type: ignore[arg-type]


def test_packages_that_need_each_other_end() -> None:
    first = conda_package("a", depends=("b",))
    second = conda_package("b", depends=("a", ""))

    assert pack_tool.closure([first, second], "a") == (first, second)


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("bin/python3.12", True),
        ("bin/python", True),
        ("bin/pip", False),
        ("bin/python3.12-config", False),
        ("lib/libssl.so.3", True),
        ("lib/python3.12/os.py", True),
        ("lib/python3.12/lib-dynload/_ssl.so", True),
        ("lib/python3.12/site-packages/pip/__init__.py", False),
        ("lib/python3.12/test/test_os.py", False),
        ("lib/python3.12/__pycache__/os.cpython-312.pyc", False),
        ("lib/libpython3.12.a", False),
        ("lib/tcl8.6/init.tcl", False),
        ("ssl/cacert.pem", True),
        ("include/python3.12/Python.h", False),
        ("share/man/man1/python3.1", False),
        ("info/index.json", False),
    ],
)
def test_what_runs_is_taken_and_nothing_else(path: str, needed: bool) -> None:
    assert pack_tool.is_needed(path) is needed


def test_requirements_are_those_without_extras() -> None:
    lines = ['x>=1; extra == "plot"', 'tomli; python_version < "3.11"', "click>=8"]

    assert pack_tool.requirements(lines) == ("click>=8", 'tomli; python_version < "3.11"')
