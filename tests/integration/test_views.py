"""Views as real clients, real filesystems and real kills see them."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fakes.hub_repos import HubRepo
from fakes.local_hub import LocalHub
from fakes.viewing import BERT, C1, C2, CONFIG, WEIGHTS, model, sha256, store_with, tree, view
from huggingface_hub import HfApi, hf_hub_download, scan_cache_dir, snapshot_download

from envforge.adapters.store.leases import leased
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.store.trees.folders import Owner
from envforge.errors import CacheError, FileNotUsable, ViewRefused
from envforge.model.models import LockedModel

REPO = "models--org--bert"
TESTS = Path(__file__).parents[1]
OTHER = 64101
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work for others")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path / "store", *BERT.values(), b"{}", b"new")


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        yield hub


def locked(repo: HubRepo) -> LockedModel:
    return model(commit=repo.head)


# --- clients --------------------------------------------------------------------------------


def test_the_client_finds_all_of_it_offline(store: Store, tmp_path: Path) -> None:
    view(store, tmp_path / "v", model(revision="v1.0"), model({"a": b"new"}, kind="dataset"))
    where = {"cache_dir": tmp_path / "v", "local_files_only": True}

    for revision in (None, "main", "v1.0", C1):
        folder = Path(snapshot_download("org/bert", revision=revision, **where))  # type: ignore[arg-type]
        assert {p: (folder / p).read_bytes() for p in BERT} == BERT
        path = hf_hub_download("org/bert", "onnx/deep/model.onnx", revision=revision, **where)  # type: ignore[arg-type]
        assert Path(path).stat().st_ino == store.path(sha256(WEIGHTS)).stat().st_ino
    dataset = snapshot_download("org/bert", repo_type="dataset", **where)  # type: ignore[arg-type]
    assert (Path(dataset) / "a").read_bytes() == b"new"


def test_the_client_fetches_nothing_online(store: Store, hub: LocalHub, tmp_path: Path) -> None:
    repo = hub.add("org/bert", BERT)
    view(store, tmp_path / "v", locked(repo))

    folder = snapshot_download("org/bert", cache_dir=tmp_path / "v", endpoint=hub.url)

    assert Path(folder).name == repo.head
    assert hub.payload_bytes == 0


def test_the_listing_is_what_the_client_writes(store: Store, hub: LocalHub, tmp_path: Path) -> None:
    repo = hub.add("org/bert", BERT)
    view(store, tmp_path / "v", locked(repo))
    snapshot_download("org/bert", cache_dir=tmp_path / "own", endpoint=hub.url)
    place = f"{REPO}/trees/{repo.head}.json"
    if not (tmp_path / "own" / place).exists():
        pytest.skip("this huggingface_hub writes no listing")

    assert (tmp_path / "v" / place).read_text() == (tmp_path / "own" / place).read_text()
    blobs = f"{REPO}/blobs"
    ours, theirs = ({p.name for p in (tmp_path / x / blobs).iterdir()} for x in ("v", "own"))
    assert ours == theirs
    snapshots = f"{REPO}/snapshots"
    assert tree(tmp_path / "v" / snapshots) == tree(tmp_path / "own" / snapshots)


def test_the_client_adds_a_file_and_a_newer_commit(
    store: Store, hub: LocalHub, tmp_path: Path
) -> None:
    repo = hub.add("org/bert", {**BERT, "extra.txt": b"more"})
    view(store, tmp_path / "v", model(commit=repo.head, allow=("*",)))
    where = {"cache_dir": tmp_path / "v", "endpoint": hub.url}

    assert Path(hf_hub_download("org/bert", "extra.txt", **where)).read_bytes() == b"more"  # type: ignore[arg-type]
    assert hub.payload_bytes == 4
    newer = repo.commit({**BERT, "config.json": b"{...}"})
    folder = snapshot_download("org/bert", **where)  # type: ignore[arg-type]

    assert (Path(folder) / "config.json").read_bytes() == b"{...}"
    assert hub.payload_bytes == 4 + 5
    assert store.holds(sha256(CONFIG), len(CONFIG))
    result = view(store, tmp_path / "v", model(commit=repo.head, allow=("*",)))
    assert result.placed == 0
    assert newer


def test_the_clients_own_clean_up_leaves_the_store_whole(store: Store, tmp_path: Path) -> None:
    models = (model(), model({"config.json": b"{}"}, commit=C2, revision="v2"))
    view(store, tmp_path / "v", *models)

    [repo] = scan_cache_dir(tmp_path / "v").repos
    assert {r.commit_hash: r.nb_files for r in repo.revisions} == {C1: 4, C2: 1}
    scan_cache_dir(tmp_path / "v").delete_revisions(C1).execute()

    assert not (tmp_path / "v" / REPO / "snapshots" / C1).exists()
    for data in BERT.values():
        assert store.path(sha256(data)).read_bytes() == data
    view(store, tmp_path / "v", *models)
    folder = snapshot_download("org/bert", cache_dir=tmp_path / "v", local_files_only=True)
    assert {p: (Path(folder) / p).read_bytes() for p in BERT} == BERT


def test_verifying_clients_agree(store: Store, hub: LocalHub, tmp_path: Path) -> None:
    """`hf cache verify` compares sizes and hashes with the hub's."""
    if not hasattr(HfApi, "verify_repo_checksums"):
        pytest.skip("this huggingface_hub verifies nothing")
    repo = hub.add("org/bert", BERT)
    view(store, tmp_path / "v", locked(repo))

    found = HfApi(endpoint=hub.url).verify_repo_checksums("org/bert", cache_dir=tmp_path / "v")

    assert (found.checked_count, found.mismatches, found.missing_paths) == (4, [], [])


# --- kills and rivals -----------------------------------------------------------------------


PREPARE = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from fakes.killing import kill_at, without_flushing
from fakes.viewing import *
without_flushing()
base = Path({base!r})
OLD = (model(revision='v1'), model({{'d': b'new'}}, kind='dataset'))
NEW = (model({{'config.json': b'{{}}', 'vocab.txt': b'[PAD]\\n'}}, commit=C2),)
store = Store(base / "store")

def build(name, models, *, kill=0, after=0.0):
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        if kill:
            kill_at(kill, base)
        view(store, base / name, *models)
        os._exit(0)
    if after:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL), status
    if not after:
        build.took = time.monotonic() - started
    return status == 0
"""


def processes(code: str, base: Path) -> subprocess.Popen[str]:
    """Views in children of a child, that has threads of no test runner."""
    text = PREPARE.format(tests=str(TESTS), base=str(base)) + code
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", text], stdout=pipe, stderr=pipe, text=True)


def ended(child: subprocess.Popen[str]) -> str:
    """What it said."""
    with child:
        out, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    return out


AT_EVERY_STEP = """
build("fresh", NEW)
build("first", OLD)
for models, before in ((NEW, OLD), (OLD, ())):
    whole = tree(base / ("fresh" if before else "first"))
    step = 1
    while True:
        name = f"v{len(before)}-{step}"
        if before:
            build(name, before)
        if build(name, models, kill=step):
            break
        assert_usable(base / name, (len(before), step))
        build(name, models)
        assert tree(base / name) == whole, (len(before), step)
        step += 1
    print(step)
"""


def test_a_kill_at_any_step_is_made_good(store: Store, tmp_path: Path) -> None:
    """Of a refresh, and of a first view: what is there can be used, and the next run ends it."""
    steps = [int(line) for line in ended(processes(AT_EVERY_STEP, tmp_path)).split()]

    assert min(steps) > 25
    assert not leased(store.root)
    for data in BERT.values():
        assert store.holds(sha256(data), len(data))
    refreshed = {p.stat().st_ino for p in tmp_path.glob("v2-*/**/*") if p.is_file()}
    assert store.path(sha256(WEIGHTS)).stat().st_ino not in refreshed


AT_ANY_MOMENT = """
seed = {seed}
moments = random.Random(seed)
build("fresh", NEW)
build("v", OLD)
for _ in range(40):
    models = moments.choice((OLD, NEW))
    build("v", models, after=moments.uniform(0, 1.2 * build.took))
    assert_usable(base / "v", seed)
build("v", NEW)
assert tree(base / "v") == tree(base / "fresh"), seed
"""


def test_a_kill_at_any_moment_is_made_good(store: Store, tmp_path: Path) -> None:
    code = AT_ANY_MOMENT.format(seed=random.randrange(2**32))

    ended(processes(code, tmp_path))

    assert not leased(store.root)


def test_eight_at_once(store: Store, tmp_path: Path) -> None:
    children = [processes(f'build("v", {name})', tmp_path) for name in ("OLD", "NEW") * 4]
    for child in children:
        ended(child)
    ended(processes('build("fresh", NEW); build("v", NEW)', tmp_path))

    assert tree(tmp_path / "v") == tree(tmp_path / "fresh")


# --- filesystems ----------------------------------------------------------------------------


def test_another_filesystem_gets_copies(store: Store, other_disk: Path) -> None:
    result = view(store, other_disk / "v", model())

    assert result.modes == {"copy": 3}
    assert result.why_copied == "the view is on another filesystem or mount than the store"
    folder = snapshot_download("org/bert", cache_dir=other_disk / "v", local_files_only=True)
    assert {p: (Path(folder) / p).read_bytes() for p in BERT} == BERT
    assert view(store, other_disk / "v", model()).placed == 0
    view(store, other_disk / "v", model({"config.json": b"{}"}, commit=C2))
    assert len(list((other_disk / "v" / REPO / "blobs").iterdir())) == 1


def test_a_full_disk_leaves_the_old_view(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    small = small_disk("size=64k")
    large = bytes(range(256)) * 1000
    store = store_with(tmp_path / "store", CONFIG, large)
    view(store, small / "v", model({"config.json": CONFIG}))

    with pytest.raises(ViewRefused, match="256,000 bytes of copies do not fit into"):
        view(store, small / "v", model({"w": large}, commit=C2))

    where = {"cache_dir": small / "v", "local_files_only": True}
    folder = snapshot_download("org/bert", **where)  # type: ignore[arg-type]
    assert (Path(folder) / "config.json").read_bytes() == CONFIG
    assert not list(small.rglob(".envforge-*"))


def test_links_run_out_and_a_second_inode_takes_over(tmp_path: Path) -> None:
    """ext4: 65,000 names for an inode."""
    store = store_with(tmp_path / "store", b"{}")
    blob, names = store.path(sha256(b"{}")), tmp_path / "names"
    names.mkdir()
    try:
        for number in range(65_000):
            os.link(blob, names / str(number))
    except OSError:
        pass
    else:
        pytest.skip("this filesystem allows more links than ext4")
    finally:
        full = blob.stat().st_nlink

    result = view(store, tmp_path / "v", model({"a": b"{}"}))

    shutil.rmtree(names)
    assert result.modes == {"hardlink": 1}
    [found] = (tmp_path / "v" / REPO / "blobs").iterdir()
    assert full >= 65_000
    assert found.samefile(blob.with_name(f"{blob.name}.1"))


# --- other users ----------------------------------------------------------------------------


def as_other(code: str, *arguments: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run shell code as another user."""
    return subprocess.run(
        ["sh", "-euc", code, "sh", *map(str, arguments)],
        user=OTHER,
        group=OTHER,
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )


@ROOT_ONLY
def test_its_user_can_add_and_remove_and_not_change(open_folder: Path) -> None:
    store = store_with(open_folder / "store", *BERT.values())
    top = store.root / "views/env/other/nlp"
    result = view(store, top, model(), owner=Owner(uid=OTHER, gid=OTHER))
    blob = top / REPO / "blobs" / sha256(WEIGHTS)

    read = as_other('cat "$1"/models--org--bert/snapshots/*/config.json', top)
    assert read.stdout == CONFIG.decode()
    assert as_other('echo x >> "$1"', blob).returncode
    assert as_other('chmod 644 "$1"', blob).returncode
    repo = '"$1/models--org--bert'
    added = f'mkdir "$1/.locks"; echo x > {repo}/blobs/new"; echo y > {repo}/refs/main"'
    assert as_other(added, top).returncode == 0
    assert as_other('rm -f "$1"; echo mine > "$1"', blob).returncode == 0
    assert as_other('ln "$1" "$2"', store.path(sha256(WEIGHTS)), top).returncode

    assert store.path(sha256(WEIGHTS)).read_bytes() == WEIGHTS
    assert (result.notes, result.owner) == ((), OTHER)
    view(store, top, model(), owner=Owner(uid=OTHER, gid=OTHER))
    assert blob.samefile(store.path(sha256(WEIGHTS)))
    assert (top / REPO / "refs/main").read_text() == C1


SWAP = """
while [ ! -e "$1/stop" ]; do
  for name in blobs refs snapshots trees; do
    mv "$1/v/models--org--bert/$name" "$1/v/models--org--bert/$name.real" 2>/dev/null &&
    ln -s "$2" "$1/v/models--org--bert/$name" 2>/dev/null
    rm -f "$1/v/models--org--bert/$name" 2>/dev/null
    mv "$1/v/models--org--bert/$name.real" "$1/v/models--org--bert/$name" 2>/dev/null
  done || :
done
"""


@ROOT_ONLY
def test_a_user_who_swaps_folders_for_links_gains_nothing(open_folder: Path) -> None:
    """While root makes the view, over and over: nothing is written, chowned or removed outside."""
    store = store_with(open_folder / "store", *BERT.values(), b"{}")
    home, target = open_folder / "home", open_folder / "target"
    for folder in (home, target):
        folder.mkdir()
    (target / "main").write_text("root's")
    (target / C1).mkdir()
    os.chown(home, OTHER, OTHER)
    before = {p: (p.lstat().st_uid, p.lstat().st_ino) for p in (target, *target.rglob("*"))}
    theirs = Owner(uid=OTHER, gid=OTHER)
    view(store, home / "v", model(), owner=theirs)
    swapper = subprocess.Popen(
        ["sh", "-c", SWAP, "sh", str(home), str(target)],
        user=OTHER,
        group=OTHER,
        extra_groups=[],
        cwd="/",
    )
    tried = done = 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for models in ([model()], [model({"config.json": b"{}"}, commit=C2)]):
            with suppress(CacheError, FileNotUsable):
                view(store, home / "v", *models, owner=theirs)
                done += 1
            tried += 1
    (home / "stop").touch()
    swapper.wait()

    assert 0 < done < tried
    assert {p: (p.lstat().st_uid, p.lstat().st_ino) for p in before} == before
    assert {target, *target.rglob("*")} == set(before)
    assert (target / "main").read_text() == "root's"
    for data in BERT.values():
        assert store.path(sha256(data)).read_bytes() == data
        assert store.path(sha256(data)).stat().st_uid == 0


@ROOT_ONLY
def test_root_in_a_store_of_somebody_else_leaves_it_usable(open_folder: Path) -> None:
    store = store_with(open_folder / "store", b"{}")
    for path in (store.root, *store.root.rglob("*")):
        os.chown(path, OTHER, OTHER)
    store = Store(store.root)

    view(
        store, store.root / "views/env/x/y", model({"a": b"{}"}), owner=Owner(uid=OTHER, gid=OTHER)
    )

    assert (
        as_other(
            'for f in "$1"/*.lock; do echo x >> "$f"; done', registry.folder(store.root)
        ).returncode
        == 0
    )
