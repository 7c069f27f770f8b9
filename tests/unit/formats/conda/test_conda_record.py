"""Searching records without parsing them."""

from __future__ import annotations

import json
from pathlib import Path

from fakes.facts import locked
from fakes.prefix_on_disk import add_record

from envforge.formats.conda.conda_record import dist_infos, library_sizes


def test_libraries_and_their_sizes(tmp_path: Path) -> None:
    """Shared objects only, by what the record says."""
    (tmp_path / "conda-meta").mkdir()
    files = {"lib/liba.so": 10, "lib/liba.so.9.1": 20, "lib/x.py": 30, "lib/b.software": 40}
    data = add_record(tmp_path, locked("a", "1"), files).read_bytes()

    assert dict(library_sizes(data)) == {"lib/liba.so": 10, "lib/liba.so.9.1": 20}


def test_links_are_left_out() -> None:
    """The size recorded for a link is not that of what it leads to."""
    entry = {"_path": "lib/liba.so", "path_type": "softlink", "size_in_bytes": 0}
    data = json.dumps({"paths_data": {"paths": [entry]}}).encode()
    assert list(library_sizes(data)) == []


def test_distributions_of_a_package() -> None:
    """As `files` and as `paths_data` name them."""
    folders = ("lib/python3.10/site-packages/a-1.dist-info", "site-packages/b-2.dist-info")
    data = json.dumps({"files": [f"{folder}/METADATA" for folder in folders]}).encode()
    assert dist_infos(data) == {"a-1.dist-info", "b-2.dist-info"}


def test_a_copy_that_a_package_carries_is_no_distribution_of_its_own() -> None:
    """setuptools has had `packaging` and others below `_vendor` since its release 71."""
    vendored = "lib/python3.11/site-packages/setuptools/_vendor/packaging-24.2.dist-info/METADATA"
    assert dist_infos(json.dumps({"files": [vendored]}).encode()) == frozenset()
