"""Files on their way in: hashed as they come, and gone on with."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fakes.hub_repos import git_sha1

from envforge.adapters.store import holders
from envforge.adapters.store.arriving import parts, writeback
from envforge.adapters.store.arriving.parts import Part, Stopped, TooLong
from envforge.errors import FileNotUsable

if TYPE_CHECKING:
    from typing_extensions import Self

DATA = bytes(range(250)) * 40
KEY = hashlib.sha256(DATA).hexdigest()
ALIVE_ELSEWHERE = "0123456789abcdef-7-7-00000000"


def new(folder: Path, *, git: bool = True, watch: Callable[[int], None] = lambda _: None) -> Part:
    path = parts.prepare(folder, KEY, holders.me())
    return Part(path, len(DATA), git=git, watch=watch)


@pytest.fixture(scope="module")
def dead() -> str:
    code = "from envforge.adapters.store import holders; print(holders.me())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_it_knows_both_hashes_when_it_is_whole(tmp_path: Path) -> None:
    with new(tmp_path) as part:
        for start in range(0, len(DATA), 999):
            part.write(DATA[start : start + 999])

        assert part.is_whole
        assert part.digests() == (KEY, git_sha1(DATA))
        assert part.path.read_bytes() == DATA
        assert part.path.stat().st_mode & 0o777 == 0o600


def test_git_is_asked_for_or_not(tmp_path: Path) -> None:
    with new(tmp_path, git=False) as part:
        part.write(DATA)

        assert part.digests() == (KEY, "")


def test_who_ends_early_leaves_it_to_the_next(tmp_path: Path) -> None:
    with new(tmp_path) as part:
        part.write(DATA[:3000])
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.left.part"]
    assert parts.at_hand(tmp_path) == {KEY: 3000}

    with new(tmp_path) as part:
        assert (part.size, part.resumed_at) == (3000, 3000)
        part.write(DATA[3000:])
        assert part.digests() == (KEY, git_sha1(DATA))
        assert part.received == len(DATA) - 3000


def test_nothing_is_left_of_nothing(tmp_path: Path) -> None:
    with new(tmp_path):
        pass

    assert list(tmp_path.iterdir()) == []


def test_the_largest_that_dead_ones_have_left_is_taken_as_it_is(tmp_path: Path, dead: str) -> None:
    large, small = tmp_path / f"{KEY}.{dead}.part", tmp_path / f"{KEY}.left.part"
    large.write_bytes(DATA[:5000])
    small.write_bytes(DATA[:10])
    (tmp_path / f"{KEY}.{dead}.whole").write_bytes(DATA)  # of a transfer that cannot go on
    inode = large.stat().st_ino

    with new(tmp_path) as part:
        assert part.size == 5000
        assert part.path.stat().st_ino == inode
        assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("in_kernel", [True, False])
def test_what_somebody_may_still_write_to_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, in_kernel: bool
) -> None:
    theirs = tmp_path / f"{KEY}.{ALIVE_ELSEWHERE}.part"
    theirs.write_bytes(DATA[:5000])
    if not in_kernel:
        monkeypatch.setattr(parts, "_CHUNK", 1000)
        monkeypatch.delattr(os, "copy_file_range")

    with theirs.open("r+b") as stalled, new(tmp_path) as part:
        stalled.seek(0)
        stalled.write(b"late")
        stalled.flush()
        part.write(DATA[5000:])
        assert part.digests()[0] == KEY
        assert part.path.read_bytes() == DATA


def test_it_does_not_grow_beyond_its_size(tmp_path: Path) -> None:
    with new(tmp_path) as part, pytest.raises(TooLong):
        part.write(DATA + b"x")
    (tmp_path / f"{KEY}.left.part").write_bytes(DATA + b"x")

    with new(tmp_path) as part:
        assert part.size == 0


def test_a_transfer_may_start_anew(tmp_path: Path) -> None:
    """What `http_get` does where a hub ignores the range that it was asked for."""
    with new(tmp_path) as part:
        part.write(b"wrong")
        part.seek(max(part.tell() - 5, 0))
        part.truncate()
        part.write(DATA)
        part.seek(0, os.SEEK_END)
        part.truncate()  # at the end: nothing
        part.flush()

        assert part.digests()[0] == KEY
        part.clear()
        assert (part.size, part.path.stat().st_size) == (0, 0)


def test_a_transfer_may_write_past_us(tmp_path: Path) -> None:
    """As `hf_transfer` does, which is told a file's name."""
    with new(tmp_path) as part:
        Path(part.name).write_bytes(DATA)

        assert part.digests() == (KEY, git_sha1(DATA))
        assert (part.received, part.is_whole) == (len(DATA), True)


def test_a_transfer_may_bring_a_whole_file(tmp_path: Path) -> None:
    with new(tmp_path) as part:
        aside = parts.whole(part.path)
        aside.write_bytes(DATA)
        part.take(aside)

        assert part.digests()[0] == KEY
        assert part.path.read_bytes() == DATA


def test_it_stops_when_it_is_told_to(tmp_path: Path) -> None:
    def stop(size: int) -> None:
        if size >= 2000:
            raise Stopped

    with new(tmp_path, watch=stop) as part:
        part.write(bytes(1000))
        with pytest.raises(Stopped):
            part.write(bytes(1000))


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with new(tmp_path) as part:
        part.check_disk()
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            part.write(DATA)
        with pytest.raises(FileNotUsable, match="no space left"):
            part.check_disk()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable):
        parts.prepare(tmp_path / "missing", KEY, holders.me())
    with pytest.raises(FileNotUsable):
        Part(tmp_path / "missing" / "x", 1, git=False, watch=lambda _: None)


def test_leftovers_of_what_is_there_are_tidied_away(tmp_path: Path, dead: str) -> None:
    other = "b" * 64
    for name in (f"{KEY}.{dead}.part", f"{KEY}.left.part", f"{other}.left.part"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / f"{KEY}.claim").symlink_to(dead)
    (tmp_path / f"{KEY}.{holders.me()}.part").write_bytes(b"x")

    parts.tidy(tmp_path, {KEY})

    left = sorted(path.name for path in tmp_path.iterdir())
    assert len(left) == 2
    assert left[0] == f"{other}.left.part"


def test_what_is_abandoned_is_old_and_nobodys(tmp_path: Path, dead: str) -> None:
    old = {f"{KEY}.{dead}.part", f"{KEY}.left.part", f"{KEY}.{ALIVE_ELSEWHERE}.part", "strange"}
    for name in (*old, f"{KEY}.{holders.me()}.part"):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - 500,) * 2)
    (tmp_path / f"{'b' * 64}.left.part").write_bytes(b"young")
    (tmp_path / f"{KEY}.claim").symlink_to(dead)
    os.utime(tmp_path / f"{KEY}.claim", (time.time() - 500,) * 2, follow_symlinks=False)

    found = {path.name for path in parts.abandoned(tmp_path, older_than=60)}

    assert found == old | {f"{KEY}.claim"}


def test_what_others_do_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files may go between a look at the folder and a look at the file."""
    (tmp_path / f"{KEY}.left.part").write_bytes(b"x")
    (tmp_path / f"{KEY}.claim").symlink_to("x")
    entries = list(os.scandir(tmp_path))
    monkeypatch.setattr(os, "scandir", lambda _: Gone(entries))
    for path in tmp_path.iterdir():
        path.unlink()

    assert parts.at_hand(tmp_path) == {}
    assert parts.abandoned(tmp_path, older_than=0) == ()
    assert parts.prepare(tmp_path, KEY, "me").name == f"{KEY}.me.part"


class Gone(list[os.DirEntry[str]]):
    """What `os.scandir` answers, as it was before."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_writing_early_is_only_a_wish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_WRITE_EARLY", 100)
    with new(tmp_path) as part:
        part.write(DATA)
        assert part.digests()[0] == KEY
    monkeypatch.setattr(writeback, "_early", lambda: None)
    writeback.begin(-1, 0, 1)
