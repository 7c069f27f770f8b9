"""Collections that are killed, that run at once, that meet a prefill; other mounts and users.

After each disturbance one more collection must give the state of an undisturbed one: everything
that is needed is in the store, nothing else is, and the trash is empty.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.model_store import StoreWorld

from envforge.errors import FileNotUsable

TESTS = Path(__file__).parents[1]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, other users")


def child(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    """Another process with our code."""
    lines = f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", lines, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, (out + err).decode()


def filled(root: Path, unused: int = 40) -> tuple[StoreWorld, set[str]]:
    """A store with files in a view, files that a lock names, and unused ones; what must stay."""
    world = StoreWorld(root)
    linked, locked = world.file(b"linked"), world.file(b"locked")
    world.view("v", "o/m", {"w": linked})
    world.lock("e", "o/m", {"w": locked})
    world.files(unused)
    return world, {linked, locked}


def assert_whole(world: StoreWorld, needed: set[str]) -> None:
    """The state of a collection that nobody disturbed."""
    world.cache.collect(older_than=0)
    assert world.names() == needed
    assert list((world.store.root / "trash").iterdir()) == []
    assert list((world.store.root / "leases").glob("*.json")) == []
    for sha256 in needed:
        assert world.store.path(sha256).read_bytes()


COLLECT = """
    import os, signal
    from pathlib import Path
    from fakes.model_store import StoreWorld
    world = StoreWorld(Path(sys.argv[1]))
    step, left = sys.argv[2], int(sys.argv[3])
    if step != "none":
        from envforge.adapters.store.removing import trash
        def counted(real):
            def call(*args, **more):
                global left
                names = " ".join(map(str, args))
                if "trash" in names or step == "lstat":
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **more)
            return call
        owner, name = {
            "rename": (Path, "rename"), "unlink": (Path, "unlink"), "lstat": (Path, "lstat"),
            "link": (os, "link"),
        }[step]
        setattr(owner, name, counted(getattr(owner, name)))
    world.cache.collect(older_than=0)
"""


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("rename", 1),
        ("rename", 2),
        ("rename", 33),
        ("unlink", 1),
        ("unlink", 32),
        ("lstat", 3),
        ("lstat", 40),
    ],
)
def test_a_kill_before_a_step(tmp_path: Path, step: str, number: int) -> None:
    world, needed = filled(tmp_path)
    before = world.names()
    status, said = ended(child(COLLECT, tmp_path, step, number))
    assert status == -signal.SIGKILL, said
    trash = {path.name.partition("~")[0] for path in (world.store.root / "trash").iterdir()}
    assert needed <= world.names()
    assert world.names() | trash <= before
    assert_whole(world, needed)


@pytest.mark.parametrize("number", [1, 2])
def test_a_kill_while_a_file_gets_its_name_back(tmp_path: Path, number: int) -> None:
    """Left in the trash by a first kill, and needed by now; the second kill comes at that."""
    world, needed = filled(tmp_path)
    locked = [world.store.path(sha256) for sha256 in needed]
    for path in locked:
        path.rename(world.store.root / "trash" / f"{path.name}~gone")
    status, said = ended(child(COLLECT, tmp_path, "link", number))
    assert status == -signal.SIGKILL, said
    assert_whole(world, needed)
    for path in locked:
        assert path.stat().st_nlink == 1 + (path.read_bytes() == b"linked")


@pytest.mark.parametrize("seed", range(2))
def test_kills_at_random_moments(tmp_path: Path, seed: int) -> None:
    world, needed = filled(tmp_path, unused=200)
    moments = random.Random(seed)
    for _ in range(2):
        process = child(COLLECT, tmp_path, "none", 0)
        lock = world.store.root / "leases" / "collecting.lock"
        until = time.monotonic() + 30
        while not (lock.exists() and lock.read_bytes()) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        ended(process)
        assert needed <= world.names()
    assert_whole(world, needed)


WITHOUT_LOCKS = """
    import contextlib
    from pathlib import Path
    from fakes.model_store import StoreWorld
    from envforge.forge.caching import collecting
    @contextlib.contextmanager
    def hold(path, *, waiting):  # a filesystem whose flock succeeds for everybody
        path.touch()
        yield
    collecting.hold = hold
    world = StoreWorld(Path(sys.argv[1]))
    while not Path(sys.argv[2]).exists():
        pass
    print(len(world.cache.collect(older_than=0).removed))
"""


def test_two_at_once_where_locks_do_nothing(tmp_path: Path) -> None:
    world, needed = filled(tmp_path / "w", unused=300)
    go = tmp_path / "go"
    runs = [child(WITHOUT_LOCKS, tmp_path / "w", go) for _ in range(2)]
    time.sleep(0.5)
    go.touch()
    results = [ended(run) for run in runs]
    assert [status for status, _ in results] == [0, 0], results
    assert sum(int(out) for _, out in results) <= 300  # no file was counted twice
    assert_whole(world, needed)


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    world, needed = filled(tmp_path, unused=300)
    runs = [child(COLLECT, tmp_path, "none", 0) for _ in range(2)]
    assert [ended(run)[0] for run in runs] == [0, 0]
    assert_whole(world, needed)


PREFILL = """
    import time
    from pathlib import Path
    from fakes.model_store import StoreWorld
    from envforge.adapters.store.leases import lease
    world = StoreWorld(Path(sys.argv[1]))
    contents = {world.file(text): text for text in [b"%d" % n for n in range(30)]}
    ready = Path(sys.argv[2])
    until = time.monotonic() + float(sys.argv[3])
    rounds = 0
    while time.monotonic() < until:
        view = world.root / f"view{rounds}"
        view.mkdir()
        with lease(world.store.root, contents, purpose="prefill"):
            for sha256, text in contents.items():
                if not world.store.holds(sha256, len(text)):  # looked for after the lease was taken
                    world.file(text)
            for sha256, text in contents.items():
                for attempt in range(10000):  # a collection may just be putting it back
                    try:
                        world.store.link(sha256, view / sha256)
                        break
                    except FileNotFoundError:
                        time.sleep(0.001)
                else:
                    sys.exit(f"{sha256} was taken from under a lease")
        for sha256, text in contents.items():
            assert (view / sha256).read_bytes() == text
            (view / sha256).unlink()
        view.rmdir()
        rounds += 1
        ready.touch()
    print(rounds)
"""


def test_a_collection_takes_nothing_from_a_prefill(tmp_path: Path) -> None:
    """Prefills over and over, without any grace: what a lease names is there until it ends."""
    world, needed = filled(tmp_path / "w", unused=0)
    ready = tmp_path / "ready"
    prefill = child(PREFILL, tmp_path / "w", ready, 2.0)
    while not ready.exists() and prefill.poll() is None:
        time.sleep(0.005)
    removed = 0
    while prefill.poll() is None:
        removed += len(world.cache.collect(older_than=0).removed)
    status, said = ended(prefill)
    assert status == 0, said
    assert removed > 0  # the two did meet
    assert_whole(world, needed)


# --- other mounts, other users --------------------------------------------------------------


@AS_ROOT
def test_a_mount_that_records_no_reads(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    place = small_disk("size=4m,noatime,mode=755")
    world = StoreWorld(tmp_path / "w", store=place / "store")
    world.file(b"x")
    assert world.cache.scan().total.last_read is None
    assert world.cache.collect(older_than=60).removed == ()
    done = world.cache.collect(older_than=0)
    assert len(done.removed) == 1
    assert "records no reads" in done.notes[0]


@AS_ROOT
def test_a_full_disk_is_freed(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    """Nothing can be written, the name of who collects included."""
    place = small_disk("size=4m,mode=755")
    world = StoreWorld(tmp_path / "w", store=place / "store")
    sha = world.file(b"x" * 100_000)
    with suppress(OSError), (place / "filling").open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)

    assert [item.sha256 for item in world.cache.collect(older_than=0).removed] == [sha]


@AS_ROOT
def test_a_store_that_is_mounted_read_only(
    tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    place = small_disk("size=4m,mode=755")
    world = StoreWorld(tmp_path / "w", store=place / "store")
    sha = world.file(b"x")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    found = world.cache.scan()
    assert found.survey.read_only
    assert found.total.files == 1
    assert world.cache.collect(older_than=0, dry_run=True).freed
    with pytest.raises(FileNotUsable, match="read-only") as caught:
        world.cache.collect(older_than=0)
    assert "--dry-run" in str(caught.value.hint)
    assert world.names() == {sha}


AS_USER = """
    import os
    from fakes.command_line import run_envforge
    commands = (["gc", "--older-than", "0", "--dry-run"], ["gc", "--older-than", "0"], ["scan"])
    def tell(*commands):
        for command in commands:
            done = run_envforge("cache", *command, "--store", sys.argv[1], "--envs", sys.argv[2])
            print(done.status, done.out, done.err)
    tell(commands[0], commands[2])  # modules are loaded while we may read them
    os.setgroups([])
    os.setgid(4001)
    os.setuid(4001)
    print("AS USER")
    tell(*commands)
"""


@AS_ROOT
def test_another_user_may_look_and_not_remove(open_folder: Path) -> None:
    world, _ = filled(open_folder, unused=3)
    before = world.names()
    view = world.store.root / "views" / "env" / "v"
    (view / "models--o--m").chmod(0o700)
    status, said = ended(child(AS_USER, world.store.root, world.settings.envs_folder))
    assert status == 0, said
    said = said.partition("AS USER")[2]
    assert "0 would free" in said
    assert "who alone may remove files from it" in said
    assert f"`{view / 'models--o--m'}` cannot be looked at: permission denied" in said
    assert world.names() == before


REMOVE = """
    import os, shutil
    os.setgroups([])
    os.setgid(4001)
    os.setuid(4001)
    shutil.rmtree(sys.argv[1])
"""


@AS_ROOT
def test_the_user_of_a_view_removes_it_and_the_file_goes(open_folder: Path) -> None:
    """Its folders are the user's, so they can; the store's inode stays until it is collected."""
    world = StoreWorld(open_folder)
    sha = world.file(b"x")
    view = world.view("v", "o/m", {"w": sha}, owner=4001)
    for path in (view, *view.rglob("*")):
        if path.is_dir():
            os.chown(path, 4001, 4001)
    status, said = ended(child(REMOVE, view / "models--o--m"))
    assert status == 0, said
    assert world.names() == {sha}
    assert world.cache.collect(older_than=0).removed
