"""Hashes that need not be computed again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes.hub_caches import put, sha256

from envforge.adapters.store.known_hashes import KnownHashes, kind_of
from envforge.errors import FileNotUsable

LATER = 10**9


def file(tmp_path: Path, data: bytes = b"weights") -> Path:
    return put(tmp_path / "file", data)


def now() -> int:
    """A moment at which nobody writes to the file any more."""
    return time.time_ns() + LATER


def test_a_hash_is_there_in_the_next_run(tmp_path: Path) -> None:
    found = file(tmp_path).stat()
    known = KnownHashes(tmp_path / "hashes")
    known.add(found, sha256(b"weights"), read_at=now())
    known.save()

    again = KnownHashes(tmp_path / "hashes")
    assert again.get(found) == sha256(b"weights")
    assert again.get(found, "git-sha1") is None


def test_both_kinds_stand_side_by_side(tmp_path: Path) -> None:
    found = file(tmp_path).stat()
    known = KnownHashes(tmp_path / "hashes")
    assert known.get(found) is None
    known.add(found, "a" * 64, read_at=now())
    known.add(found, "b" * 40, "git-sha1", read_at=now())

    assert (known.get(found), known.get(found, "git-sha1")) == ("a" * 64, "b" * 40)
    assert (kind_of("a" * 64), kind_of("b" * 40)) == ("sha256", "git-sha1")


@pytest.mark.parametrize("change", ["write", "touch", "chmod", "replace"])
def test_a_changed_file_is_not_known(tmp_path: Path, change: str) -> None:
    path = file(tmp_path)
    known = KnownHashes(tmp_path / "hashes")
    known.add(path.stat(), "a" * 64, read_at=now())
    time.sleep(0.02)  # a tick of the kernel's clock

    if change == "write":
        before = path.stat()
        path.write_bytes(b"WEIGHTS")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # and hides it
    elif change == "touch":
        os.utime(path)
    elif change == "chmod":
        path.chmod(0o600)
    else:
        put(tmp_path / "other", b"weights").rename(path)

    assert known.get(path.stat()) is None


def test_what_was_written_this_moment_is_not_remembered(tmp_path: Path) -> None:
    """Another write within the same tick would leave the same times."""
    path = tmp_path / "new"
    path.write_bytes(b"x")
    known = KnownHashes(tmp_path / "hashes")
    known.add(path.stat(), "a" * 64, read_at=time.time_ns())
    known.save()

    assert known.get(path.stat()) is None
    assert not (tmp_path / "hashes").exists()


def test_many_runs_become_one_file(tmp_path: Path) -> None:
    found = []
    for number in range(20):
        found.append(put(tmp_path / f"f{number}", b"x").stat())
        known = KnownHashes(tmp_path / "hashes")
        known.add(found[-1], f"{number:064x}", read_at=now())
        known.save()

    assert len(list((tmp_path / "hashes").iterdir())) <= 9
    known = KnownHashes(tmp_path / "hashes")
    assert [known.get(item) for item in found] == [f"{number:064x}" for number in range(20)]


def test_damage_costs_only_the_time_to_hash_again(tmp_path: Path) -> None:
    found = file(tmp_path).stat()
    known = KnownHashes(tmp_path / "hashes")
    known.add(found, "a" * 64, read_at=now())
    known.save()
    [written] = (tmp_path / "hashes").iterdir()
    written.write_bytes(written.read_bytes()[:-1])

    assert KnownHashes(tmp_path / "hashes").get(found) is None


def test_what_others_may_write_is_not_believed(tmp_path: Path) -> None:
    found = file(tmp_path).stat()
    known = KnownHashes(tmp_path / "hashes")
    known.add(found, "a" * 64, read_at=now())
    known.save()
    [written] = (tmp_path / "hashes").iterdir()
    assert written.stat().st_mode & 0o077 == 0
    written.chmod(0o666)

    assert KnownHashes(tmp_path / "hashes").get(found) is None


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "hashes").write_text("in the way")
    known = KnownHashes(tmp_path / "hashes")
    known.add(file(tmp_path).stat(), "a" * 64, read_at=now())

    with pytest.raises(FileNotUsable):
        known.save()
