from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.python.dist_info import WheelFile, read_files, read_metadata, read_url


def test_names_are_normalised() -> None:
    text = "Metadata-Version: 2.1\nName: Huggingface_Hub\nVersion: 1.0.1+cpu \n\nName: not this\n"
    assert read_metadata(text, "METADATA") == ("huggingface-hub", "1.0.1+cpu")


@pytest.mark.parametrize("text", ["", "Name: x\n", "Version: 1\n", "\nName: x\nVersion: 1\n"])
def test_metadata_without_a_name_or_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidFile, match="no Name"):
        read_metadata(text, "METADATA")


def test_the_files_of_a_wheel() -> None:
    record = (
        "torch/__init__.py,sha256=abc,12\n"
        '"torch/a, b.py",sha256=abc,3\n'
        "../../../bin/torchrun,sha256=abc,200\n"
        "torch/__pycache__/__init__.cpython-311.pyc,,\n"
        "torch-1.dist-info/RECORD,,\n"
        "\n"
    )
    assert read_files(record) == (
        WheelFile(path="torch/__init__.py", size=12),
        WheelFile(path="torch/a, b.py", size=3),
        WheelFile(path="../../../bin/torchrun", size=200),
        WheelFile(path="torch-1.dist-info/RECORD", size=None),
    )


def test_where_a_distribution_came_from() -> None:
    assert read_url('{"url": "file:///w/x.whl", "archive_info": {}}') == "file:///w/x.whl"
    for text in (None, "", "{", "[]", "{}"):
        assert read_url(text) == ""


def test_a_list_that_is_none() -> None:
    assert read_files("x" * 200_000 + ",,\n") is None
