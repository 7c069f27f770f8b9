"""pylock.toml, read and written."""

from __future__ import annotations

import pytest
from packaging.version import Version

from envforge.errors import InvalidFile
from envforge.formats.python.pylock import PylockPackage, PylockWheel, read_pylock, write_pylock

UV = """\
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11.7"

[[packages]]
name = "hf-xet"
version = "1.8.0"
marker = "platform_machine == 'x86_64'"
wheels = [
  { url = "https://f/hf_xet-1.8.0-cp38-abi3-win_amd64.whl", size = 12, hashes = { sha256 = "AA" } },
  { path = "wheels/hf_xet-1.8.0-py3-none-any.whl", hashes = { sha256 = "bb" } },
]

[[packages]]
name = "direct"
archive = { url = "https://files.example/direct-1-py3-none-any.whl", hashes = { sha256 = "cc" } }
"""


def test_wheels_paths_and_direct_addresses_are_read() -> None:
    first, second = read_pylock(UV, "pylock.toml")

    assert (first.name, first.version) == ("hf-xet", "1.8.0")
    assert [(item.sha256, item.size) for item in first.wheels] == [("aa", 12), ("bb", None)]
    assert first.wheels[1].url == "wheels/hf_xet-1.8.0-py3-none-any.whl"
    assert second.version == ""
    assert second.wheels[0].sha256 == "cc"


def test_what_is_written_is_read_back() -> None:
    """Sorted by name, whatever the order and the characters in addresses."""
    wheel = PylockWheel(url='file:///a "b"/torch-2.6.0%2Bcpu-py3-none-any.whl', sha256="a" * 64)
    packages = [
        PylockPackage(name=name, version="2.6.0+cpu", wheels=(wheel,)) for name in ("torch", "a")
    ]

    text = write_pylock(packages)

    assert read_pylock(text, "pylock.toml") == tuple(reversed(packages))
    assert write_pylock(reversed(packages)) == text
    assert Version("1.0") == Version(text.split('"')[1])


BROKEN = """\
lock-version = "1.0"
[[packages]]
name = "a"
sdist = {}
[[packages]]
name = "b"
archive = { url = "https://files.example/b.tar.gz" }
[[packages]]
version = "1"
"""


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("lock-version = ", ["not TOML"]),
        ('lock-version = "2.0"', ["`2.0` is not read"]),
        ("", ["`` is not read"]),
        (
            BROKEN,
            ["packages.a: has no wheel", "packages.b: has no wheel", "an entry has no name"],
        ),
    ],
)
def test_every_mistake_is_named(text: str, mistakes: list[str]) -> None:
    with pytest.raises(InvalidFile) as caught:
        read_pylock(text, "pylock.toml")

    assert len(caught.value.mistakes) == len(mistakes)
    for said, expected in zip(caught.value.mistakes, mistakes, strict=True):
        assert expected in said
