"""A machine's files below a root: links stay below it, and nothing raises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envforge.adapters.machine.host_root import HostRoot


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/liba.so.1.2").write_text("inside\nmore\n")
    (tmp_path / "usr/lib/liba.so.1").symlink_to("liba.so.1.2")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/../../usr/lib/liba.so.1")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "blob").write_bytes(b"\xff\xfe\0x")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_links_stay_below_the_root(tree: Path) -> None:
    host = HostRoot(tree)
    assert host.real("/lib/liba.so.1") == "/usr/lib/liba.so.1.2"
    assert host.real("/etc/passwd") == "/usr/lib/liba.so.1.2"
    assert host.text("/etc/passwd") == "inside\nmore\n"
    assert host.line("/lib/liba.so.1") == "inside"
    assert host.link_name("/lib") == "lib"
    assert host.real("/") == "/"


def test_what_is_not_there_or_unreadable(tree: Path) -> None:
    host = HostRoot(tree)
    for path in ("/nothing", "/loop", "/etc", "/pipe", "/usr/lib/liba.so.1/x", "/a\0b"):
        assert host.text(path) is None, path
        assert host.line(path) == ""
    assert host.names("/loop") == []
    assert host.end("/nothing", 8) == ""
    assert host.end("/usr/lib", 8) == ""
    assert host.link_name("/blob") is None
    assert not host.exists("/loop")


def test_bytes_that_are_no_text(tree: Path) -> None:
    host = HostRoot(tree)
    assert host.text("/blob") == "��\0x"
    assert host.data("/blob", 1) == b"\xff"
    assert host.end("/lib/liba.so.1", 5) == "more\n"


def test_folders(tree: Path) -> None:
    host = HostRoot(tree)
    assert host.names("/lib") == ["liba.so.1", "liba.so.1.2"]
    assert set(host.below("/usr", 10)) == {"/usr/lib/liba.so.1", "/usr/lib/liba.so.1.2"}
    assert len(list(host.below("/usr", 1))) == 1


def test_the_machine_itself(tmp_path: Path) -> None:
    host = HostRoot(Path("/"))
    assert host.is_own
    assert not HostRoot(tmp_path).is_own
    (tmp_path / "x").symlink_to(tmp_path)
    assert host.real(f"{tmp_path}/x") == os.path.realpath(tmp_path)
    assert host.exists(str(tmp_path))
