"""Versions, NVSwitch and MPS, read from a tree of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envforge.adapters.machine import driver_files
from envforge.verify.facts import FabricFiles

STATUS = """Package: nvidia-fabricmanager-535
Status: {status}
Version: {version}

Package: other
Status: install ok installed
Version: 1:550.1.1-1
"""


def write(root: Path, path: str, text: str = "") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


@pytest.mark.parametrize(
    "links",
    [
        {"usr/lib64/libcuda.so.1": "libcuda.so.535.104.05"},
        {
            "usr/lib/x86_64-linux-gnu/libcuda.so.1": "/etc/alternatives/cuda",
            "etc/alternatives/cuda": "../../opt/nvidia/libcuda.so.535.104.05",
        },
    ],
)
def test_the_version_that_links_lead_to(tmp_path: Path, links: dict[str, str]) -> None:
    """Absolute links are links within the tree."""
    for path, target in links.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(target)
    assert driver_files.installed_version(tmp_path, "libcuda.so.1") == "535.104.05"


def test_a_library_without_a_version(tmp_path: Path) -> None:
    """A plain file, a link in a circle, WSL's `.1.1`, or nothing."""
    assert driver_files.installed_version(tmp_path, "libcuda.so.1") is None
    write(tmp_path, "usr/lib64/libcuda.so.1")
    circle = tmp_path / "usr/lib/libcuda.so.1"
    circle.parent.mkdir(parents=True)
    circle.symlink_to("libcuda.so.1")
    assert driver_files.installed_version(tmp_path, "libcuda.so.1") is None
    circle.unlink()
    circle.symlink_to("libcuda.so.1.1")
    assert driver_files.installed_version(tmp_path, "libcuda.so.1") is None


def test_first_lines(tmp_path: Path) -> None:
    """Of what can be read."""
    assert driver_files.first_line(write(tmp_path, "a", " x \ny\n")) == "x"
    assert driver_files.first_line(write(tmp_path, "b")) is None
    assert driver_files.first_line(tmp_path) is None
    binary = tmp_path / "c"
    binary.write_bytes(b"\xff\xfe\x00")
    assert driver_files.first_line(binary) is not None


@pytest.mark.parametrize(
    "files",
    [
        {"dev/nvidia-nvswitchctl": ""},
        {"proc/driver/nvidia-nvswitch/permissions": ""},
        {
            "sys/bus/pci/devices/0000:05:00.0/class": "0x068000\n",
            "sys/bus/pci/devices/0000:05:00.0/vendor": "0x10de\n",
        },
    ],
)
def test_switches(tmp_path: Path, files: dict[str, str]) -> None:
    """By their nodes, or on the bus."""
    assert driver_files.fabric(tmp_path) == FabricFiles()
    for path, text in files.items():
        write(tmp_path, path, text)
    assert driver_files.fabric(tmp_path).nvswitch


def test_the_fabric_manager_runs_or_not(tmp_path: Path) -> None:
    """Not seen in a container is not known."""
    write(tmp_path, "proc/17/comm", "bash\n")
    write(tmp_path, "proc/1/comm", "tini\n")
    assert driver_files.fabric(tmp_path).manager_running is None
    write(tmp_path, "proc/1/comm", "systemd\n")
    assert driver_files.fabric(tmp_path).manager_running is False
    write(tmp_path, "proc/18/comm", "nv-fabricmanage\n")
    assert driver_files.fabric(tmp_path).manager_running is True


@pytest.mark.parametrize(
    ("status", "version", "found"),
    [
        ("install ok installed", "535.183.01-1", "535.183.01"),
        ("install ok installed", "1:535.183.01-0ubuntu1", "535.183.01"),
        ("deinstall ok config-files", "535.183.01-1", None),
        ("install ok installed", "unknown", None),
    ],
)
def test_the_fabric_managers_version(
    tmp_path: Path, status: str, version: str, found: str | None
) -> None:
    """Of the package that is installed."""
    write(tmp_path, "var/lib/dpkg/status", STATUS.format(status=status, version=version))
    assert driver_files.fabric(tmp_path).manager_version == found


def test_mps_is_looked_at_where_it_is_asked_for(tmp_path: Path) -> None:
    """By the variable, or by CUDA's complaint; in the tree and as it is."""
    assert driver_files.mps_pipe({}, tmp_path, refused=False) is None
    default = driver_files.mps_pipe({}, tmp_path, refused=True)
    assert default is not None
    assert default.folder.endswith("/nvidia-mps")
    assert (default.asked, default.control) == (False, False)
    write(tmp_path, "run/mps/control")
    there = driver_files.mps_pipe({"CUDA_MPS_PIPE_DIRECTORY": "/run/mps"}, tmp_path, refused=False)
    assert there is not None
    assert there.control
    assert there.foreign is (os.getuid() not in {0, (tmp_path / "run/mps/control").stat().st_uid})
    as_it_is = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "run/mps")}
    assert driver_files.mps_pipe(as_it_is, tmp_path / "other", refused=False).control  # type: ignore[union-attr]


def test_a_folder_called_control_is_no_daemon(tmp_path: Path) -> None:
    """Nor is a name that no file can have."""
    (tmp_path / "mps/control").mkdir(parents=True)
    for name in (str(tmp_path / "mps"), "a\0b"):
        found = driver_files.mps_pipe({"CUDA_MPS_PIPE_DIRECTORY": name}, tmp_path, refused=False)
        assert found is not None
        assert not found.control


def test_a_daemon_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root."""
    write(tmp_path, "mps/control")
    owner = (tmp_path / "mps/control").stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    found = driver_files.mps_pipe(
        {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "mps")}, tmp_path, refused=False
    )
    assert found is not None
    assert found.foreign is (owner != 0)
