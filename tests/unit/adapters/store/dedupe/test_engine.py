"""A plan carried out: what is proven, what is linked, what is left."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.hub_caches import contents, hub_repo, inode, put, sha256

from envforge.adapters.store.dedupe.engine import Engine
from envforge.adapters.store.dedupe.journal import Journal
from envforge.adapters.store.dedupe.outcome import Outcome
from envforge.adapters.store.dedupe.tree import Tree
from envforge.cache.dedupe_plan import WHOLE, Copy, Proof, Rules, plan, sample_places
from envforge.errors import FileNotUsable

LARGE = random.Random(1).randbytes(3 << 20)
PROOFS: list[Proof] = ["default", "compare", "trust-names"]


class World:
    """Some users with the same model."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "users"
        self.proof: Proof = "default"
        self.rules = Rules()
        self.known: Callable[[str, Copy], bool] = lambda _claim, _copy: False
        self.progress: list[int] = []

    def user(self, name: str, files: dict[str, bytes]) -> dict[str, Path]:
        return hub_repo(self.cache / name / "hub", files)

    def run(self, threads: int = 2) -> Outcome:
        tree = Tree()
        tree.add(self.cache)
        journal = Journal(self.root / "journals")
        engine = Engine(
            proof=self.proof,
            rules=self.rules,
            journal=journal,
            is_known=self.known,
            progress=self.progress.append,
        )
        try:
            return engine.run(plan(tree.found.claims, self.rules).twins, threads)
        finally:
            journal.close()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def damage(path: Path, place: int) -> None:
    """One byte, as a disk would: no time changes."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_equal_files_become_one(world: World, proof: Proof, data: bytes) -> None:
    places = [world.user(name, {"m.bin": data})["m.bin"] for name in "abc"]
    before = contents(world.cache)
    world.proof = proof

    outcome = world.run()

    assert contents(world.cache) == before
    assert len({inode(path) for path in places}) == 1
    assert (outcome.copies, outcome.names) == (2, 2)
    assert outcome.freed == 2 * places[0].stat().st_blocks * 512
    assert outcome.problems == []
    assert world.progress


def test_what_is_read_depends_on_the_proof(world: World) -> None:
    for name in "abc":
        world.user(name, {"m.bin": LARGE})
    read = {}
    for proof in PROOFS:
        world.proof = proof
        read[proof] = world.run().read
        for name in "bc":
            path = world.cache / name / "hub/models--org--m/blobs" / sha256(LARGE)
            path.unlink()
            put(path, LARGE)

    assert read["trust-names"] == 0
    assert read["compare"] == 3 * len(LARGE)
    assert len(LARGE) < read["default"] < 1.3 * len(LARGE)


def test_what_is_remembered_is_not_read_again(world: World) -> None:
    for name in "ab":
        world.user(name, {"m.bin": LARGE})
    world.known = lambda _claim, _copy: True

    assert world.run().read < len(LARGE) // 2


@pytest.mark.parametrize("proof", ["default", "compare"])
@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
def test_a_damaged_copy_never_replaces_a_good_one(world: World, proof: Proof, data: bytes) -> None:
    """The damaged one is the oldest, and would have been kept."""
    bad, *good = [world.user(name, {"m.bin": data})["m.bin"] for name in "abc"]
    damage(bad, len(data) // 2)
    damaged = bad.read_bytes()
    os.utime(bad, (1, 1))
    world.proof = proof

    outcome = world.run()

    assert [path.read_bytes() for path in good] == [data, data]
    assert inode(good[0]) == inode(good[1])
    assert outcome.damaged == [(str(bad), sha256(data))]
    assert outcome.copies == 1
    assert bad.read_bytes() == damaged != data


@pytest.mark.parametrize("proof", ["default", "compare"])
def test_two_damaged_copies_are_left(world: World, proof: Proof) -> None:
    paths = [world.user(name, {"m.bin": LARGE})["m.bin"] for name in "ab"]
    for path in paths:
        damage(path, 5)
    world.proof = proof

    outcome = world.run()

    assert outcome.copies == 0
    assert inode(paths[0]) != inode(paths[1])
    assert [path for path, _ in outcome.damaged] == [str(paths[0])]


@pytest.mark.parametrize("proof", ["default", "compare"])
def test_another_content_under_the_same_name_is_left(world: World, proof: Proof) -> None:
    """Somebody trained on, and saved through the snapshot's link."""
    kept = world.user("a", {"m.bin": LARGE})["m.bin"]
    mine = world.user("b", {"m.bin": LARGE})["m.bin"]
    trained = random.Random(2).randbytes(len(LARGE))
    put(mine, trained)
    os.utime(kept, (1, 1))
    world.proof = proof

    outcome = world.run()

    assert mine.read_bytes() == trained
    assert outcome.different == [str(mine)]


def test_a_file_written_in_place_is_read_wholly(world: World) -> None:
    """One byte between the samples: only its time tells."""
    kept = world.user("a", {"m.bin": LARGE})["m.bin"]
    mine = world.user("b", {"m.bin": LARGE})["m.bin"]
    os.utime(kept, (1, 1))
    places = {place // 4096 for place in sample_places(sha256(LARGE), len(LARGE))}
    page = next(number for number in range(len(LARGE) // 4096) if number not in places)
    damage(mine, page * 4096)
    os.utime(mine, (2**31, 2**31))

    outcome = world.run()

    assert outcome.different == [str(mine)]
    assert inode(mine) != inode(kept)


def test_a_file_that_changes_meanwhile_is_left(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = world.user("a", {"m.bin": LARGE})["m.bin"]
    mine = world.user("b", {"m.bin": LARGE})["m.bin"]
    os.utime(kept, (1, 1))
    link = os.link

    def write_then_link(*args: object, **given: object) -> None:
        mine.write_bytes(b"mine")
        link(*args, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", write_then_link)

    outcome = world.run()

    assert mine.read_bytes() == b"mine"
    assert outcome.problems == [(str(mine), "was changed meanwhile")]
    assert outcome.copies == 0
    assert sorted(os.listdir(mine.parent)) == [mine.name]  # noqa: PTH208


def test_an_inode_without_links_left_hands_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ext4 has 65,000 links to give; the next copy keeps what is left, once it is proven."""
    places = [world.user(name, {"m.bin": LARGE})["m.bin"] for name in "abcde"]
    before = contents(world.cache)
    link = os.link

    def limited(source: str, target: str, **given: int) -> None:
        found = os.stat(source, dir_fd=given["src_dir_fd"], follow_symlinks=False)
        if found.st_nlink >= 2:
            raise OSError(errno.EMLINK, "too many links")
        link(source, target, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", limited)

    outcome = world.run()

    assert contents(world.cache) == before
    assert len({inode(path) for path in places}) == 3
    assert outcome.copies == 2
    assert len(outcome.proven) == 2


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EPERM])
def test_a_folder_that_refuses_is_a_problem_and_no_end(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name in "ab":
        world.user(name, {"m.bin": LARGE, "n.bin": LARGE + b"n"})
    before = contents(world.cache)
    rename, refused = os.rename, list[str]()

    def refuse_once(source: str, target: str, **given: int) -> None:
        if not refused:
            refused.append(target)
            raise OSError(number, os.strerror(number))
        rename(source, target, **given)

    monkeypatch.setattr(os, "rename", refuse_once)

    outcome = world.run(threads=1)

    assert contents(world.cache) == before
    assert [reason for _, reason in outcome.problems] == [os.strerror(number).lower()]
    assert outcome.copies == 1


def test_access_lists_keep_copies_apart(world: World) -> None:
    places = [world.user(name, {"m.bin": LARGE})["m.bin"] for name in "ab"]
    try:
        os.setxattr(places[0], "user.seen", b"1")
    except OSError:
        pytest.skip("this filesystem has no extended attributes")

    outcome = world.run()

    assert outcome.copies == 0
    assert [reason for _, reason in outcome.problems] == ["has other access lists or labels"]

    world.rules = Rules(any_mode=True)
    assert world.run().copies == 1


def test_a_copy_that_is_gone_is_a_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = world.user("a", {"m.bin": LARGE})["m.bin"]
    gone = world.user("b", {"m.bin": LARGE})["m.bin"]
    world.user("c", {"m.bin": LARGE})
    os.utime(kept, (1, 1))
    monkeypatch.setattr("envforge.adapters.store.dedupe.engine.flush", lambda _twins: gone.unlink())

    outcome = world.run()

    assert outcome.copies == 1
    assert outcome.problems == [(str(gone), "no such file or directory")]


def test_a_folder_that_is_swapped_is_not_entered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner puts a link there after we have looked, to another user's cache."""
    world.user("a", {"m.bin": LARGE})
    mine = world.user("b", {"m.bin": LARGE})["m.bin"]
    theirs = hub_repo(world.root / "outside", {"m.bin": LARGE})["m.bin"]
    before = inode(theirs)

    def swap(_twins: object) -> None:
        mine.parent.rename(mine.parent.with_name("away"))
        mine.parent.symlink_to(theirs.parent)

    monkeypatch.setattr("envforge.adapters.store.dedupe.engine.flush", swap)

    outcome = world.run()

    assert inode(theirs) == before
    assert outcome.copies == 0
    assert len(outcome.problems) == 1


def test_a_parent_that_is_swapped_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.user("a", {"m.bin": LARGE})
    mine = world.user("b", {"m.bin": LARGE})["m.bin"]
    theirs = hub_repo(world.root / "outside", {"m.bin": LARGE})["m.bin"]
    before = inode(theirs)

    def swap(_twins: object) -> None:
        repo = mine.parents[1]
        repo.rename(repo.with_name("away"))
        repo.symlink_to(theirs.parents[1])

    monkeypatch.setattr("envforge.adapters.store.dedupe.engine.flush", swap)

    outcome = world.run()

    assert inode(theirs) == before
    assert outcome.problems == [(str(mine), "was changed meanwhile")]


def test_without_a_journal_nothing_is_done(world: World) -> None:
    places = [world.user(name, {"m.bin": LARGE})["m.bin"] for name in "ab"]
    (world.root / "journals").write_text("in the way")

    with pytest.raises(FileNotUsable):
        world.run()

    assert inode(places[0]) != inode(places[1])


def test_a_journal_that_is_full_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [world.user(name, {"m.bin": LARGE})["m.bin"] for name in "ab"]
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        return write(descriptor, data[:10]) if b"kept" in data else write(descriptor, data)

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(FileNotUsable, match="no space"):
        world.run()

    assert inode(places[0]) != inode(places[1])


@pytest.mark.parametrize("size", [10, WHOLE, WHOLE + 1])
def test_what_was_proven_is_told(world: World, size: int) -> None:
    data = LARGE[:size]
    for name in "ab":
        world.user(name, {"m.bin": data})

    [known] = world.run().proven

    assert known.claim == sha256(data)
    assert Path(known.copy.path).read_bytes() == data
