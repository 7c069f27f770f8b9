"""pixi.lock, format versions 4 to 7."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.pixi import pixi_lock
from envforge.model.imported import ImportedEnvironment

A, B = "a" * 64, "b" * 64
V6 = f"""\
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    - url: https://conda.anaconda.org/pytorch/
    indexes:
    - https://pypi.org/simple
    find-links:
    - path: ./wheels
    options:
      pypi-prerelease-mode: if-necessary
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3.1-hb9d3cd8_2.conda
      - pypi: https://files.example/torch-2.7.1%2Bcu126-cp312-cp312-manylinux_2_28_x86_64.whl
      - pypi: ./own
      osx-arm64:
      - conda: https://conda.anaconda.org/conda-forge/noarch/tzdata-2025b-h78e105d_0.conda
  empty:
    channels: []
    packages:
      linux-64: []
packages:
- conda: https://conda.anaconda.org/conda-forge/linux-64/zlib-1.3.1-hb9d3cd8_2.conda
  sha256: {A}
  md5: {"c" * 32}
  depends:
  - __glibc >=2.17,<3.0.a0
  - libzlib 1.3.1 hb9d3cd8_2
  constrains:
  - minizip <0.0a0
  size: 92286
- conda: https://conda.anaconda.org/conda-forge/noarch/tzdata-2025b-h78e105d_0.conda
  sha256: {B}
- pypi: https://files.example/torch-2.7.1%2Bcu126-cp312-cp312-manylinux_2_28_x86_64.whl
  name: torch
  version: 2.7.1+cu126
  sha256: {B}
  requires_dist:
  - filelock
  - own >=0 ; sys_platform == 'linux'
  - triton==3.3.1 ; platform_system == 'Linux'
  - optree>=0.13 ; extra == 'optree'
- pypi: ./own
  name: Own_Package
  version: 0.1
  sha256: {A}
  editable: true
"""
V4 = f"""\
version: 4
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/pytorch/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/pytorch/linux-64/pytorch-2.2.2-py3.10_cuda11.8_0.tar.bz2
      - pypi: .
packages:
- kind: conda
  name: pytorch
  version: 2.2.2
  build: py3.10_cuda11.8_0
  subdir: linux-64
  url: https://conda.anaconda.org/pytorch/linux-64/pytorch-2.2.2-py3.10_cuda11.8_0.tar.bz2
  md5: {"d" * 32}
- kind: pypi
  name: own
  version: 1.0.3
  path: .
"""
V7 = f"""\
version: 7
platforms:
- name: linux-64
- name: linux-64-gpu
  subdir: linux-64
  virtual-packages:
  - __cuda=12
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64-gpu:
      - conda: https://conda.anaconda.org/conda-forge/noarch/tzdata-2025b-h78e105d_0.conda
      - conda_source: own[1a2b] @ .
packages:
- conda: https://conda.anaconda.org/conda-forge/noarch/tzdata-2025b-h78e105d_0.conda
  sha256: {B}
  run_exports:
    weak:
    - tzdata
- conda_source: own[1a2b] @ .
  name: own
  version: '0.1'
"""


def read(text: str) -> ImportedEnvironment:
    return pixi_lock.read_source(text, "pixi.lock")[0]


def test_version_6_leaves_to_the_address_what_it_says() -> None:
    environment, empty = pixi_lock.read_source(V6, "pixi.lock")
    lock = environment.lock

    assert lock is not None
    zlib = lock.find("zlib", "linux-64")
    assert zlib is not None
    assert (zlib.version, zlib.build, zlib.size) == ("1.3.1", "hb9d3cd8_2", 92286)
    assert zlib.depends == ("__glibc >=2.17,<3.0.a0", "libzlib 1.3.1 hb9d3cd8_2")
    assert zlib.constrains == ("minizip <0.0a0",)
    assert lock.channels == (
        "https://conda.anaconda.org/conda-forge",
        "https://conda.anaconda.org/pytorch",
    )
    assert environment.platforms == ("linux-64", "osx-arm64")
    assert environment.indexes == ("https://pypi.org/simple",)
    assert empty.lock is not None
    assert empty.lock.packages == ()


def test_wheels_are_pip_packages_with_what_holds_on_the_platform() -> None:
    environment = read(V6)
    assert environment.lock is not None
    torch = environment.lock.find("torch", "linux-64")

    assert torch is not None
    assert (torch.manager, torch.version, torch.sha256) == ("pip", "2.7.1+cu126", B)
    assert torch.depends == ("filelock",)  # own-package is not `own`, triton is not locked


def test_what_nobody_else_can_fetch_is_told() -> None:
    environment = read(V6)

    assert environment.local == ("own-package",)
    assert environment.notes == (
        "wheels from 1 `find-links`",
        "`pypi-prerelease-mode: if-necessary`",
    )


def test_version_4_says_everything_itself() -> None:
    environment = read(V4)

    assert environment.lock is not None
    assert [
        (item.name, item.version, item.build, item.md5) for item in environment.lock.packages
    ] == [
        ("own", "1.0.3", "", ""),
        ("pytorch", "2.2.2", "py3.10_cuda11.8_0", "d" * 32),
    ]
    assert environment.local == ("own",)


def test_version_7_has_platforms_with_names_and_packages_from_source() -> None:
    environment = read(V7)

    assert environment.platforms == ("linux-64",)
    assert environment.lock is not None
    assert [item.name for item in environment.lock.packages] == ["own", "tzdata"]
    assert environment.local == ("own",)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (("version: 6", "version: 3"), "line 1, column 10: format version 3; versions 4 to 7"),
        (("version: 6\n", ""), "no format version; versions 4 to 7 can be read"),
        (
            (f"sha256: {A}", "sha256: abc"),
            "line 26, column 11: `sha256` of package `zlib` is no sha256",
        ),
        (("size: 92286", "size: big"), "`size` is `big`, and should be a number"),
        (
            ("- pypi: ./own\n  name", "- pipy: ./own\n  name"),
            "neither `conda` nor `pypi` nor `kind`",
        ),
        (
            ("- pypi: ./own\n      osx", "- pypi: ./other\n      osx"),
            "`./other` is not among `packages`",
        ),
        (("  name: Own_Package\n", ""), "`./own` has no `name`"),
        (("packages:\n- conda", "package:\n- conda"), "`packages` is missing"),
        (("    channels: []", "    channels: 3"), "should be a list"),
        (("      linux-64: []", "      linux-64:\n      - 3"), "`key: value` lines"),
        (("  constrains:\n  - minizip <0.0a0\n", "  constrains: x\n"), "should be a list"),
        (("  version: 0.1\n", "  version: [1]\n"), "`version` is a list, and should be text"),
    ],
)
def test_a_mistake_is_told_with_its_place(change: tuple[str, str], mistake: str) -> None:
    text = V6.replace(*change)
    assert text != V6

    with pytest.raises(InvalidFile) as caught:
        pixi_lock.read_source(text, "pixi.lock")

    assert mistake in str(caught.value)
    assert caught.value.hint is not None


def test_no_environment_at_all_is_a_mistake() -> None:
    with pytest.raises(InvalidFile, match="names none"):
        pixi_lock.read_source("version: 6\nenvironments: {}\npackages: []\n", "pixi.lock")
