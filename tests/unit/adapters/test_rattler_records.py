from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.installing import conda_package

from envforge.adapters.rattler_records import make_record


@pytest.mark.parametrize(
    ("build", "path"),
    [("h1_0_cp313t", "lib/python3.13t/site-packages"), ("h1_0_cp313", None)],
)
def test_a_free_threaded_python_says_where_packages_go(
    build: str, path: str | None, tmp_path: Path
) -> None:
    """Before it is fetched only the build string tells, and noarch packages are linked with it."""
    python = conda_package("python", "3.13.1", build)
    record = make_record(python, tmp_path, python.url)
    assert record.python_site_packages_path == path


def test_a_package_that_is_to_be_fetched_has_what_the_lock_says(tmp_path: Path) -> None:
    package = conda_package(
        "numpy", depends=("python 3.11.*",), constrains=("x <1",), md5="a" * 32, size=7
    )
    record = make_record(package, tmp_path, "file:///mirror/linux-64/numpy-1.0-0.conda")

    assert record.url == "file:///mirror/linux-64/numpy-1.0-0.conda"
    assert record.sha256 is not None
    assert record.sha256.hex() == package.sha256
    assert record.md5 is not None
    assert (record.depends, record.constrains, record.size) == (["python 3.11.*"], ["x <1"], 7)


def test_a_cached_package_tells_the_rest_itself(tmp_path: Path) -> None:
    package = conda_package("numpy", depends=("python_abi 3.11.*",), constrains=("mended <1",))
    index = tmp_path / "numpy-1.0-0" / "info" / "index.json"
    index.parent.mkdir(parents=True)
    told = {
        "name": "numpy",
        "version": "1.0",
        "build": "0",
        "build_number": 3,
        "depends": ["python_abi 3.11.* *_cp311"],
        "constrains": ["old <1"],
        "license": "BSD-3-Clause",
        "subdir": "linux-64",
    }
    index.write_text(json.dumps(told))

    record = make_record(package, tmp_path, None)

    assert record.url == package.url
    assert record.depends == ["python_abi 3.11.* *_cp311"]
    assert record.constrains == ["mended <1"]
    assert (record.license, record.build_number) == ("BSD-3-Clause", 3)
