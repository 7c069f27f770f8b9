"""What addresses of packages say."""

from __future__ import annotations

import pytest

from envforge.formats import archive_name


def test_a_conda_address_says_name_version_build_and_channel() -> None:
    url = "https://conda.anaconda.org/nvidia/label/cuda-11.8.0/linux-64/cuda-nvcc-11.8.89-0.tar.bz2"

    assert archive_name.parse_conda(url) == ("cuda-nvcc", "11.8.89", "0")
    assert archive_name.channel_of(url) == "https://conda.anaconda.org/nvidia/label/cuda-11.8.0"
    assert archive_name.subdir_of("file:///srv/x-1-0.conda") == ""
    assert archive_name.channel_of("file:///srv/x-1-0.conda") == ""


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (
            "https://x/torch-2.7.1%2Bcu126-cp312-cp312-linux_x86_64.whl#sha256=1",
            ("torch", "2.7.1+cu126", ""),
        ),
        ("./my_thing-1.0.tar.gz", ("my-thing", "1.0", "")),
        ("https://x/nothing", None),
        ("x.whl", None),
    ],
)
def test_a_python_address_says_name_and_version(address: str, name: object) -> None:
    assert archive_name.parse_python(address) == name


def test_other_names_of_conda_archives_are_none() -> None:
    assert archive_name.parse_conda("https://x/linux-64/zlib.conda") is None
    assert archive_name.parse_conda("https://x/linux-64/zlib-1-0.zip") is None
    assert archive_name.parse_conda("https://[x/linux-64/zlib-1-0.conda") is None
