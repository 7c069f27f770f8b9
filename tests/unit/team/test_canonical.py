"""Addresses that everybody can use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.conda_solver import package
from fakes.locks import wheel

from envforge.team.canonical import Known, judge

PUBLIC = "https://conda.anaconda.org"
REGISTRY = f"packages/aa/bb/{'c' * 60}/x-1-py3-none-any.whl"
KNOWN = Known(
    channels={"conda-forge", "lab", f"{PUBLIC}/conda-forge", "https://conda.lab.example/lab"},
    mirrors={
        "https://proxy.example/conda/conda-forge": f"{PUBLIC}/conda-forge",
        "file:///srv/mirror/conda-forge": f"{PUBLIC}/conda-forge",
    },
    chosen={"https://wheels.lab.example/"},
)


def conda(channel: str) -> str | None:
    item = replace(package("a", "1"), url=f"{channel}/linux-64/a-1-h0_0.conda")
    found = judge(item, KNOWN)
    return None if found is None else found.canonical.removesuffix("/linux-64/a-1-h0_0.conda")


@pytest.mark.parametrize(
    "channel",
    [
        f"{PUBLIC}/conda-forge",
        f"{PUBLIC}/nvidia/label/cuda-11.8.0",
        "https://repo.anaconda.com/pkgs/main",
        "https://conda.lab.example/lab",
        "https://another.example/somebody",
        "file:///home/u/channel",
    ],
)
def test_fine_as_they_are(channel: str) -> None:
    """Those that were chosen, and those that nobody can judge; paths are another check's."""
    assert conda(channel) is None


@pytest.mark.parametrize(
    ("channel", "better"),
    [
        ("https://proxy.example/conda/conda-forge", f"{PUBLIC}/conda-forge"),
        ("file:///srv/mirror/conda-forge", f"{PUBLIC}/conda-forge"),
        ("https://artifacts.example/api/conda/conda-forge", f"{PUBLIC}/conda-forge"),
        ("http://localhost:8080/pytorch", f"{PUBLIC}/pytorch"),
        ("https://m.example/nvidia/label/cuda-11.8.0", f"{PUBLIC}/nvidia/label/cuda-11.8.0"),
        ("https://m.example/anaconda/pkgs/main", "https://repo.anaconda.com/pkgs/main"),
        ("http://10.0.0.1/own", ""),
    ],
)
def test_what_a_mirrors_address_stands_for(channel: str, better: str) -> None:
    assert conda(channel) == better


@pytest.mark.parametrize(
    ("address", "better"),
    [
        (f"https://files.pythonhosted.org/{REGISTRY}", None),
        ("https://download.pytorch.org/whl/cu118/torch-2.0.1%2Bcu118-cp310-cp310-linux.whl", None),
        ("https://wheels.lab.example/own-1-py3-none-any.whl", None),
        (f"https://pypi.corp/root/{REGISTRY}", f"https://files.pythonhosted.org/{REGISTRY}"),
        (
            "https://m.example/torch/whl/cu118/torch-2.0.1-cp310-cp310-linux.whl",
            "https://download.pytorch.org/whl/cu118/torch-2.0.1-cp310-cp310-linux.whl",
        ),
        ("https://m.example/x-1-py3-none-any.whl", ""),
    ],
)
def test_wheels(address: str, better: str | None) -> None:
    found = judge(wheel("x", "1", url=address), KNOWN)
    assert (found and found.canonical) == better


@pytest.mark.parametrize(
    ("host", "private"),
    [("pypi.corp", True), ("192.168.3.4:3141", True), ("devpi", True), ("pypi.example.com", False)],
)
def test_hosts_that_no_other_network_reaches(host: str, private: bool) -> None:
    found = judge(wheel("x", "1", url=f"https://{host}/x-1-py3-none-any.whl"), KNOWN)
    assert found
    assert (found.host, found.is_private) == (host, private)


def test_credentials_are_no_part_of_a_host() -> None:
    found = judge(wheel("x", "1", url="https://u:secret@pypi.corp/x-1-py3-none-any.whl"), KNOWN)
    assert found
    assert found.host == "pypi.corp"
