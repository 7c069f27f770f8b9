"""Who else could put something into a store."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.store import trust
from envforge.errors import UntrustedStore

ALICE, BOB = 4201, 4202
PRIVATE, TEAM = 4301, 4302


@contextmanager
def accounts(
    monkeypatch: pytest.MonkeyPatch, *, primary: dict[str, int], members: dict[int, list[str]]
) -> Iterator[None]:
    """A user database: alice and bob, with these primary groups."""
    uids = {"alice": ALICE, "bob": BOB, "root": 0}
    users = [
        pwd.struct_passwd((name, "x", uids[name], gid, "", "/", "/bin/sh"))
        for name, gid in primary.items()
    ]
    groups = {gid: grp.struct_group((str(gid), "x", gid, who)) for gid, who in members.items()}
    with monkeypatch.context() as patch:
        patch.setattr(pwd, "getpwall", lambda: users)
        patch.setattr(pwd, "getpwuid", {user.pw_uid: user for user in users}.__getitem__)
        patch.setattr(grp, "getgrgid", groups.__getitem__)
        yield


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "share" / "store"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("which", ["store", "share"])
@pytest.mark.parametrize(
    ("group", "primary", "members", "trusted"),
    [
        (PRIVATE, {"alice": PRIVATE, "bob": TEAM}, {PRIVATE: [], TEAM: []}, True),
        (PRIVATE, {"alice": PRIVATE, "bob": TEAM}, {PRIVATE: ["alice"], TEAM: []}, True),
        (PRIVATE, {"alice": PRIVATE, "bob": TEAM}, {PRIVATE: ["bob"], TEAM: []}, False),
        (TEAM, {"alice": TEAM, "bob": TEAM}, {TEAM: []}, False),
        (TEAM, {"alice": PRIVATE}, {PRIVATE: [], TEAM: []}, False),
        (9999, {"alice": PRIVATE}, {PRIVATE: []}, False),
    ],
)
def test_a_group_that_may_write(  # noqa: PLR0917 - a table
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    group: int,
    primary: dict[str, int],
    members: dict[int, list[str]],
    trusted: bool,
) -> None:
    """umask 0002 goes with a group of one's own; any other group lets others in."""
    for folder in (place.parent, place):
        os.chown(folder, ALICE, group)
    (place if which == "store" else place.parent).chmod(0o775)
    with accounts(monkeypatch, primary=primary, members=members):
        if trusted:
            trust.check(place)
        else:
            with pytest.raises(UntrustedStore, match=r"may (write|be written)"):
                trust.check(place)


def test_an_access_control_list(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group's bits are its mask: somebody named in it may write."""
    place.chmod(0o775)

    def entries(*_: Any, **__: Any) -> bytes:
        return b"\2\0\0\0" + b"\2\0\7\0" + b"\x68\x10\0\0"  # user 4200: rwx

    monkeypatch.setattr(os, "getxattr", entries)
    with pytest.raises(UntrustedStore, match="mode 0775"):
        trust.check(place)


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_everybody_may_write(place: Path, mode: int) -> None:
    place.chmod(mode)
    with pytest.raises(UntrustedStore, match="may write it") as caught:
        trust.check(place)
    assert caught.value.exit_code == 6


def test_a_sticky_folder_above_is_fine(place: Path) -> None:
    place.parent.chmod(0o1777)
    trust.check(place)
    place.parent.chmod(0o777)
    with pytest.raises(UntrustedStore, match="above it may be written"):
        trust.check(place)


def test_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UntrustedStore, match="it is no folder"):
        trust.check(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize(("members", "trusted"), [([], True), (["bob"], False)])
def test_a_volume_of_root_that_the_owner_s_group_may_write(
    place: Path, monkeypatch: pytest.MonkeyPatch, members: list[str], trusted: bool
) -> None:
    """Kubernetes mounts claims so: root's, with the pod's `fsGroup`, mode 2775."""
    os.chown(place, ALICE, PRIVATE)
    os.chown(place.parent, 0, PRIVATE)
    place.parent.chmod(0o2775)
    primary = {"root": 0, "alice": PRIVATE, "bob": TEAM}
    groups: dict[int, list[str]] = {0: [], PRIVATE: members, TEAM: []}
    with accounts(monkeypatch, primary=primary, members=groups):
        if trusted:
            trust.check(place)
        else:
            with pytest.raises(UntrustedStore, match="above it may be written by others"):
                trust.check(place)
