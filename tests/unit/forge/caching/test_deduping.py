"""`ModelCache.dedupe` and back, on real files."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest
from fakes.hub_caches import contents, flat, hub_repo, inode, local, put, sha256
from fakes.installing import RecordingReporter, make_settings

from envforge.adapters.store.dedupe import undoing
from envforge.cache.dedupe_plan import EDITED
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue, StoreFull
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace

WEIGHTS = random.Random(1).randbytes(EDITED + 7)
FILES = {"model.safetensors": WEIGHTS, "config.json": b"{}"}


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture
def cache(tmp_path: Path, reporter: RecordingReporter) -> ModelCache:
    settings = make_settings(tmp_path / "mine", cache=tmp_path / "mine" / "cache")
    return ModelCache(Workplace(settings=settings, reporter=reporter))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Two caches, a flat one, a local copy, and a file that nobody names."""
    users = tmp_path / "users"
    for name in ("ada", "bo"):
        hub_repo(users / name / "hub", FILES)
    flat(users / "cy", "https://hub/model.bin", WEIGHTS)
    local(users / "di" / "m", "model.safetensors", WEIGHTS)
    local(users / "di" / "m", "config.json", b"{}")
    put(users / "ed" / "copied.bin", WEIGHTS)
    return users


def weights(users: Path) -> list[Path]:
    return [
        path
        for path in users.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_size == len(WEIGHTS)
    ]


def test_every_kind_of_cache_shares_one_file(users: Path, cache: ModelCache) -> None:
    before = contents(users)

    result = cache.dedupe([users])

    assert contents(users) == before
    assert len({inode(path) for path in weights(users)}) == 1
    assert len(weights(users)) == 5
    assert (result.sets, result.copies, result.linked) == (2, 5, 5)
    assert result.freed == 4 * -(-len(WEIGHTS) // 4096) * 4096 + 4096
    assert result.problems == result.damaged == result.different == ()
    assert result.journal is not None


def test_refs_and_listings_are_never_linked(users: Path, cache: ModelCache) -> None:
    """Old clients write refs in place: one user's update would be another's."""
    cache.dedupe([users])

    others = [
        path
        for path in users.rglob("*")
        if path.is_file() and not path.is_symlink() and path.parent.name != "blobs"
    ]
    shared = {path for path in others if path.stat().st_nlink > 1}
    assert {path.stat().st_size for path in shared} == {len(WEIGHTS)}
    assert {path.name for path in others} >= {"main", "adapter_config.json", "config.json"}


def test_a_plan_changes_nothing(users: Path, cache: ModelCache) -> None:
    inodes = {path: inode(path) for path in users.rglob("*")}

    planned = cache.dedupe([users], dry_run=True)

    assert {path: inode(path) for path in users.rglob("*")} == inodes
    assert planned.dry_run
    assert planned.journal is None
    done = cache.dedupe([users])
    assert (planned.copies, planned.freed) == (done.copies, done.freed)


@pytest.mark.parametrize("proof", ["default", "compare", "trust-names"])
def test_a_plan_says_what_would_be_read(users: Path, cache: ModelCache, proof: str) -> None:
    planned = cache.dedupe([users], proof=proof, dry_run=True)  # type: ignore[arg-type]

    total = {"default": len(WEIGHTS) + 2, "compare": 5 * len(WEIGHTS) + 4, "trust-names": 0}
    assert planned.to_read == total[proof]


def test_a_second_run_has_nothing_to_do_and_reads_nothing(users: Path, cache: ModelCache) -> None:
    cache.dedupe([users])

    again = cache.dedupe([users])

    assert (again.copies, again.read, again.journal) == (0, 0, None)


def test_only_a_new_copy_is_read_again(users: Path, cache: ModelCache) -> None:
    cache.dedupe([users])
    hub_repo(users / "fay" / "hub", FILES)

    again = cache.dedupe([users])

    assert again.copies == 2
    assert again.read < len(WEIGHTS) // 2


def test_a_file_that_nobody_names_is_read_once(users: Path, cache: ModelCache) -> None:
    put(users / "ed" / "other.bin", WEIGHTS[::-1])
    time.sleep(0.05)  # what was written this moment is not remembered
    first = cache.dedupe([users], dry_run=True)

    second = cache.dedupe([users], dry_run=True)

    assert first.read == 2 * len(WEIGHTS)
    assert second.read == 0
    assert second.copies == first.copies == 5


def test_hashes_that_cannot_be_kept_are_no_failure(
    users: Path, cache: ModelCache, reporter: RecordingReporter, tmp_path: Path
) -> None:
    put(tmp_path / "mine" / "cache" / "hashes", b"in the way")

    assert cache.dedupe([users]).copies == 5

    assert any("not remembered" in warning for warning in reporter.warnings)


def test_what_a_killed_run_left_goes(users: Path, cache: ModelCache) -> None:
    blob = users / "ada/hub/models--org--m/blobs" / sha256(WEIGHTS)
    left = blob.with_name(f".envforge-{2**22 + 1:x}-0.incomplete")
    left.hardlink_to(blob)

    cache.dedupe([users], dry_run=True)

    assert not left.exists()


def test_it_can_be_taken_back(users: Path, cache: ModelCache) -> None:
    before, stats = contents(users), {path: path.stat() for path in weights(users)}
    done = cache.dedupe([users])

    undone = cache.undo_dedupe()

    assert contents(users) == before
    assert len({inode(path) for path in weights(users)}) == 5
    for path, found in stats.items():
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (found.st_mode, found.st_uid, found.st_gid)
        assert now.st_mtime_ns == found.st_mtime_ns
    assert (undone.journal, undone.restored, undone.skipped) == (done.journal, 5, 0)
    assert undone.complete
    assert undone.bytes == 4 * len(WEIGHTS) + 2


def test_once_taken_back_it_is_not_taken_back_again(users: Path, cache: ModelCache) -> None:
    cache.dedupe([users])
    cache.undo_dedupe()

    with pytest.raises(InvalidValue, match="no run"):
        cache.undo_dedupe()


def test_a_part_can_be_taken_back_and_the_rest_later(users: Path, cache: ModelCache) -> None:
    cache.dedupe([users])

    part = cache.undo_dedupe([users / "di"])

    assert (part.restored, part.complete) == (1, False)
    assert inode(users / "di/m/model.safetensors") not in {
        inode(path) for path in weights(users / "ada")
    }
    rest = cache.undo_dedupe(journal=part.journal)
    assert (rest.restored, rest.skipped, rest.complete) == (4, 1, True)


def test_what_changed_since_is_not_taken_back(users: Path, cache: ModelCache) -> None:
    cache.dedupe([users])
    mine = users / "di/m/model.safetensors"
    mine.unlink()
    put(mine, b"mine")

    undone = cache.undo_dedupe()

    assert mine.read_bytes() == b"mine"
    assert (undone.restored, undone.skipped) == (4, 1)


@pytest.mark.parametrize("data", [b"longer" + WEIGHTS, b"!" + WEIGHTS[1:]])
def test_bytes_that_changed_since_are_not_passed_off_as_the_old_ones(
    users: Path, cache: ModelCache, data: bytes
) -> None:
    """Somebody wrote one of the links: the old bytes are gone, and old times must not hide it."""
    cache.dedupe([users])
    mine = users / "di/m/model.safetensors"
    mine.write_bytes(data)

    undone = cache.undo_dedupe()

    assert {path.read_bytes() == data for path in weights(users)} <= {True}
    assert mine.stat().st_mtime > time.time() - 600
    assert not undone.complete
    assert "changed since" in undone.problems[0][1]


def test_a_touch_changes_no_bytes(users: Path, cache: ModelCache) -> None:
    cache.dedupe([users])
    (users / "di/m/model.safetensors").touch()

    assert cache.undo_dedupe().complete


def test_no_room_to_take_it_back_is_said_first(
    users: Path, cache: ModelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.dedupe([users])
    before = {path: inode(path) for path in users.rglob("*")}
    real = os.statvfs

    def full(path: str) -> os.statvfs_result:
        fields = list(real(path))
        fields[4] = 10  # f_bavail
        return os.statvfs_result(fields)

    monkeypatch.setattr(undoing.os, "statvfs", full)

    with pytest.raises(StoreFull):
        cache.undo_dedupe()

    assert {path: inode(path) for path in users.rglob("*")} == before


@pytest.mark.parametrize("text", ["{}\n", '{"version": 2}\n', "x\n", '{"version": 1}\n{}\n'])
def test_a_file_that_is_no_journal_is_refused(cache: ModelCache, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.journal"
    path.write_text(text)

    with pytest.raises(InvalidFile):
        cache.undo_dedupe(journal=path)


def test_a_missing_journal_is_said(cache: ModelCache, tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable):
        cache.undo_dedupe(journal=tmp_path / "none")


def test_a_line_that_was_cut_off_is_left_out(users: Path, cache: ModelCache) -> None:
    journal = cache.dedupe([users]).journal
    assert journal is not None
    with journal.open("ab") as stream:
        stream.write(b'{"kept": [1, 2')

    assert cache.undo_dedupe().restored == 5


def test_names_in_other_encodings_come_back(tmp_path: Path, cache: ModelCache) -> None:
    users = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    places = [hub_repo(users / name, FILES)["model.safetensors"] for name in "ab"]
    cache.dedupe([users])
    assert inode(places[0]) == inode(places[1])

    cache.undo_dedupe()

    assert inode(places[0]) != inode(places[1])


def test_files_of_different_modes_stay_apart(users: Path, cache: ModelCache) -> None:
    for path in weights(users):
        path.chmod(0o600 if "ada" in path.parts else 0o644)

    result = cache.dedupe([users])

    assert result.left == {"other mode": 1}
    assert result.copies == 3 + 1
    assert cache.dedupe([users], any_mode=True).copies == 1
    assert len({inode(path) for path in weights(users)}) == 1
