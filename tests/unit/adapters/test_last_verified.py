"""How verifications ended, remembered."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
from fakes import reports

from envforge.adapters.last_verified import LastVerified


def test_the_last_one_counts(tmp_path: Path) -> None:
    memory = LastVerified(tmp_path / "cache")
    folder = tmp_path / "envs" / reports.NAME
    assert memory.of(folder) is None

    memory.remember(folder, reports.BROKEN, "a" * 64)
    memory.remember(folder, reports.HEALTHY, "b" * 64)

    found = memory.of(folder)
    assert found is not None
    assert (found.passed, found.lock) == (True, "b" * 64)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.at)
    assert memory.of(tmp_path / "elsewhere" / reports.NAME) is None


def test_it_is_this_users_own(tmp_path: Path) -> None:
    memory = LastVerified(tmp_path)
    memory.remember(tmp_path / "x", reports.HEALTHY, "")
    [path] = (tmp_path / "verified").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_nothing_of_somebody_else_counts(tmp_path: Path) -> None:
    """Where users share ENVFORGE_CACHE, anybody could say that an environment works."""
    memory = LastVerified(tmp_path)
    memory.remember(tmp_path / "x", reports.HEALTHY, "")
    [path] = (tmp_path / "verified").iterdir()
    os.seteuid(64210)  # who may not even look
    try:
        assert memory.of(tmp_path / "x") is None
    finally:
        os.seteuid(0)
    os.chown(path, 64210, 64210)
    path.chmod(0o644)
    assert memory.of(tmp_path / "x") is None


def test_one_folder_by_two_ways(tmp_path: Path) -> None:
    (tmp_path / "envs" / "x").mkdir(parents=True)
    (tmp_path / "link").symlink_to("envs")
    memory = LastVerified(tmp_path / "cache")
    memory.remember(tmp_path / "envs" / "x", reports.HEALTHY, "")
    assert memory.of(tmp_path / "link" / "x") is not None


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "envforge.verify/1", "reports": []}'])
def test_what_cannot_be_read_is_nothing(tmp_path: Path, text: str) -> None:
    memory = LastVerified(tmp_path)
    memory.remember(tmp_path / "x", reports.HEALTHY, "")
    [path] = (tmp_path / "verified").iterdir()
    path.write_text(text)
    assert memory.of(tmp_path / "x") is None


def test_a_cache_that_takes_nothing_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "verified").write_text("a file in the way")
    memory = LastVerified(tmp_path)
    memory.remember(tmp_path / "x", reports.HEALTHY, "")
    assert memory.of(tmp_path / "x") is None


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    memory = LastVerified(tmp_path)
    memory.remember(folder, reports.HEALTHY, "")
    assert memory.of(folder) is not None
