"""Wheel file names and the choice among several."""

from __future__ import annotations

import sys

import pytest
from packaging.tags import Tag, sys_tags

from envforge.errors import InvalidValue
from envforge.formats.python.wheel_name import choose_wheel, parse_wheel_name, target_tags

NUMPY = (
    "numpy-2.0.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "numpy-2.0.0-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "numpy-2.0.0-cp311-cp311-musllinux_1_1_x86_64.whl",
    "numpy-2.0.0-cp312-cp312-manylinux_2_17_x86_64.whl",
    "numpy-2.0.0-cp311-cp311-win_amd64.whl",
    "numpy-2.0.0-cp311-cp311-macosx_14_0_arm64.whl",
    "numpy-2.0.0-cp311-cp311-manylinux_2_17_aarch64.whl",
)


def test_the_name_gives_version_and_label() -> None:
    """Local versions survive, escaped or not."""
    name = parse_wheel_name("torch-2.6.0+cu126-cp311-cp311-manylinux_2_28_x86_64.whl")

    assert (name.name, str(name.version), name.local) == ("torch", "2.6.0+cu126", "cu126")
    assert Tag("cp311", "cp311", "manylinux_2_28_x86_64") in name.tags


@pytest.mark.parametrize("filename", ["torch.whl", "torch-2.6.0.tar.gz", "a-b-c-d-e-f-g-h.whl"])
def test_what_is_no_wheel_is_refused(filename: str) -> None:
    with pytest.raises(InvalidValue, match="PEP 427"):
        parse_wheel_name(filename)


@pytest.mark.parametrize(
    ("platform", "glibc", "expected"),
    [
        ("linux-64", "2.28", 1),
        ("linux-64", "2.17", 0),
        ("linux-64", None, 1),
        ("linux-aarch64", "2.35", 6),
        ("win-64", None, 4),
        ("osx-arm64", None, 5),
    ],
)
def test_each_target_takes_its_own_file(platform: str, glibc: str | None, expected: int) -> None:
    """The newest C library that the target has wins; other systems' files are never taken."""
    order = target_tags(platform, "3.11.7", glibc)  # type: ignore[arg-type]

    assert choose_wheel(NUMPY, order) == NUMPY[expected]
    assert choose_wheel(NUMPY[::-1], order) == NUMPY[expected]


def test_a_python_without_a_wheel_gets_none() -> None:
    assert choose_wheel(NUMPY, target_tags("linux-64", "3.13")) is None


def test_a_native_wheel_goes_before_a_pure_one() -> None:
    names = ("a-1-py3-none-any.whl", "a-1-cp38-abi3-manylinux2014_x86_64.whl")

    assert choose_wheel(names, target_tags("linux-64", "3.12")) == names[1]


@pytest.mark.skipif(sys.platform != "linux", reason="compares with this host's own tags")
def test_the_order_is_that_of_the_host() -> None:
    """For the running interpreter, packaging's own list has the same manylinux order."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    ours = [str(tag) for tag in target_tags("linux-64", python, "2.28")]
    # Where plain `linux_x86_64` stands has changed between versions of packaging.
    theirs = [str(tag) for tag in sys_tags() if "-linux_" not in str(tag)]
    common = [tag for tag in theirs if tag in set(ours)]

    assert common == [tag for tag in ours if tag in set(theirs)]
    assert "py3-none-any" in common


def test_a_python_needs_a_minor_version() -> None:
    with pytest.raises(InvalidValue, match=r"3\.11"):
        target_tags("linux-64", "3")
