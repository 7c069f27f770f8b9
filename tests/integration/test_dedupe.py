"""Dedupe and adopt, disturbed: kills, two at once, other users, small and foreign disks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.forks import Forks
from fakes.hub_caches import contents, hub_repo, inode, put, sha256
from fakes.readable_python import variables

from envforge.adapters.store.store import Store

TESTS = Path(__file__).parents[1]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users, mounts")
ADA, BOB = 64001, 64002
LARGE = random.Random(1).randbytes(600_000)

IMPORTS = """
import envforge.adapters.store.dedupe.adopting, envforge.adapters.store.dedupe.undoing
from envforge.adapters.store.dedupe import engine
from envforge.forge import Forge
from envforge.forge.caching import adopting, deduping
from fakes.killing import without_flushing
Forge().cache
without_flushing()
engine.flush = lambda _: None  # of the whole disk
"""
TASK = """
from pathlib import Path
from fakes.killing import kill_at
from envforge.forge import Forge

task, number, paths = sys.argv[1], int(sys.argv[2]), [Path(path) for path in sys.argv[3:]]
cache = Forge().cache
if number:
    kill_at(number, paths[0].parent)
if task == "undo":
    cache.undo_dedupe()
else:
    getattr(cache, task)(paths)
"""


class World:
    """Some users' caches, and envforge's own folders beside them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.users = root / "users"
        self.python = Path(sys.executable)

    def fill(self, files: dict[str, bytes], names: str = "abc") -> None:
        for name in names:
            hub_repo(self.users / name / "hub", files)

    def start(self, task: str) -> subprocess.Popen[str]:
        code = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n{TASK}"
        given = [sys.executable, "-c", code, task, "0", str(self.users)]
        env = {**os.environ, **self.variables()}
        return subprocess.Popen(
            given, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def variables(self) -> dict[str, str]:
        return {
            "ENVFORGE_CACHE": str(self.root / "cache"),
            "ENVFORGE_STORE": str(self.root / "store"),
        }

    def run(self, task: str) -> None:
        out, _ = (child := self.start(task)).communicate(timeout=60)
        assert child.returncode == 0, out

    def leftovers(self) -> list[Path]:
        return list(self.users.rglob(".envforge-*"))

    def inodes(self) -> dict[str, int]:
        """Of every blob: how many there are of each content."""
        found: dict[str, set[int]] = {}
        for path in self.users.rglob("blobs/*"):
            if not path.name.startswith("."):
                found.setdefault(path.name, set()).add(inode(path))
        return {name: len(inodes) for name, inodes in found.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def four_megabytes(small_disk: Callable[[str], Path]) -> Path:
    return small_disk("size=4m")


def visible(world: World) -> dict[str, bytes | str]:
    """Without what a kill leaves, which is hidden and named as an unfinished download."""
    return {
        path: data
        for path, data in contents(world.users).items()
        if not Path(path).name.startswith(".envforge-")
    }


FILES = {"m.safetensors": LARGE, "config.json": b"{}"}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(IMPORTS) as forks:
        yield forks


@pytest.mark.parametrize("task", ["dedupe", "adopt", "undo"])
def test_killed_at_any_step_nothing_is_lost_and_the_next_run_ends_it(
    world: World, forks: Forks, task: str
) -> None:
    """Before every link, rename, removal and new file, until none is left."""

    def run(task: str, *, kill: int = 0) -> bool:
        env = {**os.environ, **world.variables()}
        done = forks.run(TASK, task, kill, world.users, env=env)
        assert done.status in {0, -signal.SIGKILL}, done.err
        return bool(done.status)

    number = 0
    while True:
        number += 1
        shutil.rmtree(world.root, ignore_errors=True)
        world.fill(FILES)
        if task == "adopt":
            Store.create(world.root / "store")
        before = contents(world.users)
        if task == "undo":
            run("dedupe")
        killed = run(task, kill=number)

        assert visible(world) == before
        assert len(world.leftovers()) <= 4  # one for each thread

        if killed or task != "undo":
            run(task)
        assert contents(world.users) == before
        assert set(world.inodes().values()) == ({3} if task == "undo" else {1})
        if not killed:
            break
    assert number > 4


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment(world: World, seed: int) -> None:
    source = random.Random(seed)
    files = {f"{n}.bin": source.randbytes(source.randint(1, 30_000)) for n in range(150)}
    world.fill({**files, "large.bin": LARGE * 20})
    before = contents(world.users)
    child = world.start("dedupe")
    time.sleep(source.uniform(0.15, 0.6))
    child.kill()
    child.communicate()

    assert visible(world) == before

    world.run("dedupe")
    assert contents(world.users) == before
    assert set(world.inodes().values()) == {1}
    assert world.leftovers() == []


def test_two_at_once_hinder_nobody(world: World) -> None:
    source = random.Random(3)
    world.fill({f"{n}.bin": source.randbytes(2000) for n in range(200)})
    before = contents(world.users)

    children = [world.start("dedupe") for _ in range(3)]
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0, out

    assert contents(world.users) == before
    world.run("dedupe")
    assert set(world.inodes().values()) == {1}
    assert world.leftovers() == []


def test_clients_read_the_cache_afterwards(world: World) -> None:
    """The newest huggingface_hub, offline."""
    from huggingface_hub import scan_cache_dir, snapshot_download

    world.fill({**FILES, "sub/tokenizer.json": b"[]"})
    world.run("dedupe")

    for name in "abc":
        cache = world.users / name / "hub"
        folder = Path(snapshot_download("org/m", cache_dir=cache, local_files_only=True))
        assert (folder / "m.safetensors").read_bytes() == LARGE
        assert (folder / "sub/tokenizer.json").read_bytes() == b"[]"
        assert scan_cache_dir(cache).warnings == []


# --- other users ----------------------------------------------------------------------------


@pytest.fixture
def shared(open_folder: Path, open_python: Path) -> World:
    """Two users' caches, in a folder that everybody may pass through."""
    world = World(open_folder)
    world.python = open_python
    world.fill(FILES, names="ab")
    for name, uid in (("a", ADA), ("b", BOB)):
        give(world.users / name, uid)
    return world


def give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def as_user(world: World, uid: int, *command: str) -> subprocess.CompletedProcess[str]:
    home = world.root / f"home-{uid}"
    home.mkdir(exist_ok=True)
    os.chown(home, uid, uid)
    given = command if command[0] == "-c" else ("-m", "envforge", "cache", *command)
    env = {"HOME": str(home), "ENVFORGE_STORE": str(world.root / "store")}
    return subprocess.run(
        [str(world.python), *given],
        user=uid, group=uid, extra_groups=[], cwd="/", timeout=60, check=False,
        env={**env, **variables(world.python)}, capture_output=True, text=True,
    )  # fmt: skip


def envforge(world: World, *command: str) -> str:
    """As root; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "envforge", "cache", *command],
        env={**os.environ, **world.variables()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@AS_ROOT
def test_files_of_different_users_stay_apart_unless_told_otherwise(shared: World) -> None:
    out = envforge(shared, "dedupe", str(shared.users))
    assert "2 other owner" in out
    assert set(shared.inodes().values()) == {2}

    envforge(shared, "dedupe", "--any-owner", str(shared.users))
    assert set(shared.inodes().values()) == {1}


@AS_ROOT
def test_a_user_cannot_link_what_is_not_theirs(shared: World) -> None:
    before = contents(shared.users)

    done = as_user(shared, ADA, "dedupe", "--any-owner", "--any-mode", str(shared.users))

    assert contents(shared.users) == before
    assert set(shared.inodes().values()) == {2}
    assert "permission denied" in done.stdout or "not permitted" in done.stdout


@AS_ROOT
def test_what_root_adopted_nobody_else_can_change(shared: World) -> None:
    envforge(shared, "init", "-q")
    before = contents(shared.users)
    mine = shared.users / "a/hub/models--org--m/blobs" / sha256(LARGE)

    envforge(shared, "adopt", str(shared.users))

    assert contents(shared.users) == before
    assert set(shared.inodes().values()) == {1}
    found = mine.stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o444)
    write = "import sys; open(sys.argv[1], 'r+b')"
    assert "PermissionError" in as_user(shared, ADA, "-c", write, str(mine)).stderr
    chmod = "import os, sys; os.chmod(sys.argv[1], 0o644)"
    assert "PermissionError" in as_user(shared, ADA, "-c", chmod, str(mine)).stderr
    remove = "import os, sys; os.unlink(sys.argv[1])"
    assert as_user(shared, ADA, "-c", remove, str(mine)).returncode == 0
    assert (shared.root / "store" / sha256(LARGE)[:2] / sha256(LARGE)).read_bytes() == LARGE


@AS_ROOT
def test_only_the_stores_owner_adopts(shared: World) -> None:
    envforge(shared, "init", "-q")

    done = as_user(shared, ADA, "adopt", str(shared.users / "a"))

    assert done.returncode == 6
    assert "who alone may take files into it" in done.stderr


@AS_ROOT
def test_root_does_not_follow_what_a_user_has_laid(shared: World) -> None:
    """A blob, a folder and a whole repository that lead to another user's."""
    secret = put(shared.root / "secret" / "blobs" / sha256(LARGE), LARGE)
    secret.chmod(0o600)
    evil = shared.users / "a" / "hub"
    (evil / "models--x--1" / "blobs").mkdir(parents=True)
    (evil / "models--x--1" / "blobs" / sha256(LARGE)).symlink_to(secret)
    (evil / "models--x--2").mkdir()
    (evil / "models--x--2" / "blobs").symlink_to(secret.parent)
    (evil / "models--x--3").symlink_to(secret.parents[1])
    before = inode(secret)

    envforge(shared, "dedupe", "--any-owner", "--any-mode", str(shared.users))

    assert inode(secret) == before
    assert (secret.stat().st_nlink, secret.stat().st_uid) == (1, 0)


# --- disks ----------------------------------------------------------------------------------


@AS_ROOT
def test_a_full_disk_is_deduped_but_not_undone(world: World, four_megabytes: Path) -> None:
    world.users = four_megabytes / "users"
    world.fill(FILES)
    (four_megabytes / "filler").write_bytes(b"x" * 2_300_000)
    before = contents(world.users)

    world.run("dedupe")
    assert contents(world.users) == before
    assert set(world.inodes().values()) == {1}
    (four_megabytes / "filler2").write_bytes(b"x" * 900_000)

    done = subprocess.run(
        [sys.executable, "-m", "envforge", "cache", "dedupe", "--undo"],
        env={**os.environ, **world.variables()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert "free, and 1.2 MB are needed" in done.stderr
    assert contents(world.users) == before


@AS_ROOT
def test_a_read_only_disk_refuses_and_nothing_is_lost(world: World, four_megabytes: Path) -> None:
    world.users = four_megabytes / "users"
    world.fill(FILES)
    before = contents(world.users)
    subprocess.run(["mount", "-o", "remount,ro", four_megabytes], check=True)

    out = envforge(world, "dedupe", str(world.users))

    assert "read-only file system" in out
    assert contents(world.users) == before


@AS_ROOT
def test_copies_on_two_disks_stay_apart(world: World, four_megabytes: Path) -> None:
    world.fill(FILES, names="a")
    hub_repo(four_megabytes / "hub", FILES)

    out = envforge(world, "dedupe", str(world.users), str(four_megabytes))

    assert "2 other filesystem" in out
