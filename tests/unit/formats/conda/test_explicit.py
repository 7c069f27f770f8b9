"""`@EXPLICIT` lists."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.conda import explicit
from envforge.model.lock import Lock

FORGE = "https://conda.anaconda.org/conda-forge"
TEXT = f"""\
# This file may be used to create an environment using:
# $ conda create --name <env> --file <this file>
# platform: linux-64
@EXPLICIT
{FORGE}/linux-64/zlib-1.3.1-hb9d3cd8_2.conda#{"a" * 32}
{FORGE}/noarch/tzdata-2025b-h78e105d_0.conda#sha256:{"b" * 64}
https://conda.anaconda.org/t/to-ken/own/linux-64/x-1-0.tar.bz2#{"c" * 64}
file:///srv/y-2-h1_0.conda
# pip Torch_Metrics @ https://files.example/torchmetrics-1.0-py3-none-any.whl \
--hash=sha256:{"d" * 64}
# pip filelock @ https://files.example/filelock-3.9-py3-none-any.whl#sha256={"e" * 64}
"""


def read(text: str) -> Lock:
    lock = explicit.read_source(text, "explicit.txt")[0].lock
    assert lock is not None
    return lock


def test_every_line_is_a_package_with_its_hash() -> None:
    lock = read(TEXT)

    assert [
        (item.name, item.version, item.build, item.md5, item.sha256) for item in lock.packages
    ] == [
        ("filelock", "3.9", "", "", "e" * 64),
        ("torch-metrics", "1.0", "", "", "d" * 64),
        ("tzdata", "2025b", "h78e105d_0", "", "b" * 64),
        ("x", "1", "0", "", "c" * 64),
        ("y", "2", "h1_0", "", ""),
        ("zlib", "1.3.1", "hb9d3cd8_2", "a" * 32, ""),
    ]
    assert lock.platforms == ("linux-64",)
    assert {item.platform for item in lock.packages} == {"linux-64"}
    assert lock.channels == (FORGE, "https://conda.anaconda.org/t/to-ken/own")


def test_the_platform_is_told_by_the_packages_else_assumed() -> None:
    plain = f"{FORGE}/win-64/zlib-1-0.conda\n"
    noarch = explicit.read_source(f"@EXPLICIT\n{FORGE}/noarch/zlib-1-0.conda\n", "x")[0]

    assert read(plain).platforms == ("win-64",)
    assert noarch.platforms == ("linux-64",)
    assert noarch.notes == ("platform linux-64 assumed",)
    assert explicit.read_source(TEXT, "x")[0].notes == ()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("@EXPLICIT\nnumpy=1.26\n", "line 2: `numpy=1.26` is no address of a conda package"),
        (f"{FORGE}/noarch/a-1-0.conda#xyz\n", "line 1: `#xyz` is neither an md5 nor"),
        (
            f"{FORGE}/noarch/a-1-0.conda\n{FORGE}/noarch/a-2-0.conda\n",
            "line 2: `a` stands here a second",
        ),
        (f"{FORGE}/linux-64/a-1-0.conda\n{FORGE}/win-64/b-2-0.conda\n", "several platforms"),
        (
            f"# platform: win-64\n{FORGE}/linux-64/a-1-0.conda\n",
            "line 1: it says that it is for win-64",
        ),
        ("@EXPLICIT\n", "it lists no package"),
    ],
)
def test_a_mistake_is_told_with_its_line(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        explicit.read_source(text, "explicit.txt")

    assert mistake in str(caught.value)
