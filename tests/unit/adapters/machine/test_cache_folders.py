"""Where compiled code is kept, and whether this user may write there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envforge.adapters.machine import cache_folders as caches
from envforge.verify.facts.shell import CacheFolder

NOBODY = 4_000_000_001
TMP = "/tmp"  # noqa: S108


def look(
    root: Path, user: str | None = "ada", uid: int | None = None, **environment: str
) -> dict[str, CacheFolder]:
    uid = caches.own_uid() if uid is None else uid
    found = caches.cache_folders(environment, user=user, uid=uid, root=root)
    return {item.use: item for item in found}


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"USER": "ada", "LOGNAME": "bob"}, "bob"),
        ({"LOGNAME": "", "USERNAME": "eve"}, "eve"),
        ({}, None),
    ],
)
def test_user_names(environment: dict[str, str], name: str | None) -> None:
    """In the order of `getpass`; a user id without an account has none."""
    assert caches.user_name(environment, NOBODY) == name
    assert caches.user_name(environment, None) == name


def test_the_name_of_an_account() -> None:
    import pwd

    uid = os.getuid()
    assert caches.user_name({}, uid) == pwd.getpwuid(uid).pw_name


def test_default_places(tmp_path: Path) -> None:
    found = look(tmp_path, HOME="/home/ada")
    assert {use: item.path for use, item in found.items()} == {
        "inductor": f"{TMP}/torchinductor_ada",
        "triton": "/home/ada/.triton/cache",
        "extensions": "/home/ada/.cache/torch_extensions",
    }
    assert found["inductor"].per_user
    assert found["triton"].variable == "HOME"


def test_places_that_variables_name(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        HOME="/h",
        TMPDIR=str(tmp_path),
        TRITON_HOME="/t",
        XDG_CACHE_HOME="/x",
        CUDA_CACHE_PATH="/c",
    )
    assert {item.path for item in found.values()} == {
        f"{tmp_path}/torchinductor_ada",
        "/t/.triton/cache",
        "/x/torch_extensions",
        "/c",
    }
    off = look(tmp_path, HOME="/h", CUDA_CACHE_PATH="/c", CUDA_CACHE_DISABLE="1")
    assert "driver" not in off
    named = look(tmp_path, TORCHINDUCTOR_CACHE_DIR="rel", TRITON_CACHE_DIR="/a", HOME="/h")
    assert named["inductor"].path == str(Path("rel").absolute())
    assert not named["inductor"].per_user
    assert named["triton"].variable == "TRITON_CACHE_DIR"


def test_a_temporary_folder_that_is_gone_is_not_used(tmp_path: Path) -> None:
    found = look(tmp_path, TMPDIR=str(tmp_path / "gone"), HOME="/h")
    assert found["inductor"].path.startswith(f"{TMP}/")


def test_a_name_that_is_no_file_name(tmp_path: Path) -> None:
    assert look(tmp_path, user="DOM\\ada", HOME="/h")["inductor"].path.endswith("_DOM_ada")


def test_nobody_has_no_default_places(tmp_path: Path) -> None:
    assert look(tmp_path, user=None, uid=NOBODY) == {}


def test_what_is_not_made_yet(tmp_path: Path) -> None:
    """What counts is the nearest folder above."""
    folder = tmp_path / "a" / "b"
    found = look(tmp_path, TORCHINDUCTOR_CACHE_DIR=str(folder))["inductor"]
    assert (found.nearest, found.exists, found.writable) == (str(tmp_path), False, True)
    folder.mkdir(parents=True)
    found = look(tmp_path, TORCHINDUCTOR_CACHE_DIR=str(folder))["inductor"]
    assert (found.exists, found.owner) == (True, os.getuid())


def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    """Root could write there all the same; whoever took the permission away meant otherwise."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o555)
    found = look(tmp_path, TRITON_CACHE_DIR=str(folder))["triton"]
    assert found.writable is False
    assert found.mode == 0o555


def test_roots_home_may_be_without_write_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red Hat's `/root` and `/` are; for root that is no obstacle, for others it is."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    found = os.stat_result((0o40550, 0, 0, 2, 0, 0, 0, 0, 0, 0))
    assert caches._may_write("/root", found, 0, named=False)
    assert not caches._may_write("/root", found, 0, named=True)
    assert not caches._may_write("/elsewhere", found, 0, named=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not caches._may_write("/root", found, 1000, named=False)


def test_links_that_lead_to_themselves(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    found = look(tmp_path, TRITON_CACHE_DIR=str(loop / "x"))["triton"]
    assert not found.is_folder
    assert found.writable is None


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = look(tmp_path, TRITON_CACHE_DIR=str(tmp_path / "file" / "x"))["triton"]
    assert not found.is_folder


def test_mounts(tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:4 / /tmp rw,noexec - tmpfs tmpfs rw\n"
        "3 1 0:5 / /ro ro - ext4 /dev/sdb ro\nnonsense\n"
    )
    found = look(tmp_path, HOME="/h", TRITON_CACHE_DIR="/ro/cache")
    assert (found["inductor"].mount, found["inductor"].noexec) == (TMP, True)
    assert (found["triton"].read_only, found["triton"].noexec) == (True, False)
    assert found["extensions"].mount == "/"
