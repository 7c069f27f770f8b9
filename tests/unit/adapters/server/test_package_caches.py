"""What a folder of unpacked packages looks like to others."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import make_settings

from envforge.adapters.server import package_caches
from envforge.around.server.server_facts import PackageCache
from envforge.model.settings import CondaSettings


def look(tmp_path: Path, *others: Path) -> tuple[PackageCache, ...]:
    settings = make_settings(tmp_path, package_cache=tmp_path / "pkgs")
    conda = CondaSettings(pkgs_dirs=(tmp_path / "pkgs", *others))
    return package_caches.look(replace(settings, conda=conda))


def test_packages_are_counted_and_other_things_are_not(tmp_path: Path) -> None:
    cache = tmp_path / "pkgs"
    for name in ("numpy-1.0-py_0", "a-b-c-1-0", "cache", ".numpy-1.0-0.ab.tmp"):
        (cache / name).mkdir(parents=True)
    (cache / "numpy-1.0-py_0.conda").touch()

    [found] = look(tmp_path)

    assert (found.packages, found.is_ours, found.closed_count) == (2, True, 0)
    assert found.foreign_count == 0
    assert found.leftover_count == 0  # it may still be at work


def test_what_is_half_done_for_a_day_is_left_over(tmp_path: Path) -> None:
    cache = tmp_path / "pkgs"
    cache.mkdir()
    for name in ("a-1-0.conda.partial", ".b-1-0.ab.tmp", "c-1-0.conda"):
        (cache / name).touch()
        os.utime(cache / name, (0, 0))

    [found] = look(tmp_path)

    assert found.leftover_count == 2
    assert found.leftovers == (f"{cache}/.b-1-0.ab.tmp", f"{cache}/a-1-0.conda.partial")


def test_one_that_is_not_there_and_one_more(tmp_path: Path) -> None:
    (tmp_path / "shared/x-1-0").mkdir(parents=True)

    ours, shared = look(tmp_path, tmp_path / "shared")

    assert (ours.is_ours, ours.place.exists, ours.packages) == (True, False, 0)
    assert not ours.is_hidden
    assert (shared.is_ours, shared.packages) == (False, 1)


def test_what_others_own_and_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user who owns nothing here and may do nothing."""
    (tmp_path / "pkgs/x-1-0").mkdir(parents=True)
    monkeypatch.setattr(package_caches.os, "geteuid", lambda: 4242)
    monkeypatch.setattr(package_caches.os, "access", lambda *_: False)

    found, hidden = look(tmp_path, tmp_path / "none")

    assert (found.closed, found.foreign_count) == ((f"{tmp_path}/pkgs/x-1-0",), 1)
    assert (found.is_hidden, hidden.is_hidden) == (False, True)


def test_what_goes_away_while_one_looks_is_no_error(tmp_path: Path) -> None:
    """Others download and clean up at the same time."""
    (tmp_path / "pkgs/x-1-0").mkdir(parents=True)
    (tmp_path / "file").touch()
    [entry] = package_caches._entries(tmp_path / "pkgs")
    (tmp_path / "pkgs/x-1-0").rmdir()

    assert not package_caches._is_foreign(entry)
    assert not package_caches._is_old(entry)
    assert list(package_caches._entries(tmp_path / "file")) == []


def test_one_that_is_closed_is_not_taken_for_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "pkgs"
    (cache / "x-1-0").mkdir(parents=True)
    assert not look(tmp_path)[0].is_closed

    cache.chmod(0o300)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != cache and real(path, mode))

    [found] = look(tmp_path)

    assert found.is_closed
