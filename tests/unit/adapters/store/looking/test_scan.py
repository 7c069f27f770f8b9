"""Cache trees as they lie on the disk, hostile ones included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.model_store import COMMIT, OTHER_COMMIT, StoreWorld

from envforge.adapters.store.looking import scan
from envforge.adapters.store.trees import registry
from envforge.adapters.users import name_of
from envforge.cache.survey import Tree


def look(path: Path) -> Tree:
    return scan.look_at_cache(path, lambda _: None)


def roles(tree: Tree) -> dict[str, str]:
    return {item.name: item.role for item in tree.files}


def repository(root: Path, folder: str = "models--o--m") -> Path:
    """One blob, one snapshot that links to it, one ref."""
    repo = root / folder
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / "abc").write_bytes(b"12345")
    snapshot = repo / "snapshots" / COMMIT / "onnx"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").symlink_to("../../../blobs/abc")
    (repo / "refs" / "pr").mkdir(parents=True)
    (repo / "refs" / "pr" / "1").write_text(COMMIT + "\n")
    return repo


def test_a_cache_of_huggingface_hub(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    (repo / "blobs" / "abd.1234.incomplete").write_bytes(b"1")
    (repo / "blobs" / "abc.lock").touch()
    (repo / "trees").mkdir()
    (repo / "trees" / f"{COMMIT}.json").write_text("{}")
    (tmp_path / "CACHEDIR.TAG").write_text("x")
    tree = look(tmp_path)

    assert roles(tree) == {"abc": "blob", "abd.1234.incomplete": "partial"}
    [blob] = [item for item in tree.files if item.role == "blob"]
    assert blob.repo == "o/m"
    assert blob.facts.size == 5
    assert blob.facts.links == 1
    [snapshot] = tree.snapshots
    assert (snapshot.repo, snapshot.commit, snapshot.refs) == ("o/m", COMMIT, ("pr/1",))
    assert snapshot.blobs == {"abc"}
    assert tree.problem == ""
    assert tree.user == name_of(os.getuid())


@pytest.mark.parametrize(
    ("folder", "shown"),
    [
        ("models--bert", "bert"),
        ("models--o--m", "o/m"),
        ("datasets--o--d", "dataset:o/d"),
        ("spaces--o--s", "space:o/s"),
        ("kernels--o--k", "kernel:o/k"),
        ("models--", ""),
        ("version.txt", ""),
        (".locks", ""),
    ],
)
def test_names_of_repositories(folder: str, shown: str) -> None:
    assert scan.repo_of(folder) == shown


def test_a_snapshot_without_files_is_one(tmp_path: Path) -> None:
    (tmp_path / "models--m" / "snapshots" / COMMIT).mkdir(parents=True)
    [snapshot] = look(tmp_path).snapshots
    assert snapshot.is_detached


def test_a_cache_without_links(tmp_path: Path) -> None:
    """`HF_HUB_DISABLE_SYMLINKS`: files lie in the snapshot."""
    place = tmp_path / "datasets--o--d" / "snapshots" / OTHER_COMMIT / "data"
    place.mkdir(parents=True)
    (place / "a.parquet").write_bytes(b"1")
    [item] = look(tmp_path).files
    assert (item.role, item.repo, item.name) == ("snapshot", "dataset:o/d", "data/a.parquet")
    assert item.commit == OTHER_COMMIT


def test_blobs_that_the_hub_keeps_once_for_all_repositories(tmp_path: Path) -> None:
    """Hub 1.32 and later: `blobs/<2>/<hash>` in the cache, and a link where the blob was."""
    repo = repository(tmp_path)
    lent = tmp_path / "blobs" / "ab" / ("ab" * 32)
    lent.parent.mkdir(parents=True)
    lent.write_bytes(b"weights")
    (repo / "blobs" / "lfs").symlink_to(f"../../blobs/ab/{lent.name}")
    (repo / "blobs" / "broken").symlink_to("../../blobs/ab/" + "cd" * 32)
    (repo / "blobs" / "outside").symlink_to("/etc/passwd")
    (repo / "snapshots" / COMMIT / "w").symlink_to("../../blobs/lfs")
    tree = look(tmp_path)
    found = {item.name: item.facts for item in tree.files if item.role == "blob"}
    assert set(found) == {"abc", "lfs"}
    assert found["lfs"].inode == lent.stat().st_ino


def test_a_flat_cache(tmp_path: Path) -> None:
    name = "a" * 64 + "." + "b" * 64
    for file in (name, f"{name}.h5", f"{name}.json", f"{name}.lock"):
        (tmp_path / file).write_bytes(b"1")
    assert roles(look(tmp_path)) == {name: "flat", f"{name}.h5": "flat"}


def test_links_lead_nowhere(tmp_path: Path) -> None:
    """Root scans folders of users: a link of theirs is a name, not a way."""
    outside = tmp_path / "outside"
    repository(outside)
    cache = tmp_path / "cache"
    repo = repository(cache)
    (cache / "models--o--evil").symlink_to(outside / "models--o--m")
    (repo / "snapshots" / OTHER_COMMIT).symlink_to(outside)
    (repo / "refs" / "evil").symlink_to("/etc/passwd")
    tree = look(cache)
    assert roles(tree) == {"abc": "blob"}
    assert [item.commit for item in tree.snapshots] == [COMMIT]
    linked = tmp_path / "linked"
    linked.symlink_to(cache)
    assert look(linked).files == ()
    assert "cannot be looked at" in look(linked).problem


def test_what_is_no_file(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    os.mkfifo(repo / "refs" / "pipe")
    os.mkfifo(repo / "blobs" / "pipe")
    assert roles(look(tmp_path)) == {"abc": "blob"}


def test_folders_without_end(tmp_path: Path) -> None:
    deep = tmp_path / "models--m" / "snapshots" / COMMIT
    deep.joinpath(*["d"] * 80).mkdir(parents=True)
    assert "64 deep" in look(tmp_path).problem


def test_names_in_other_encodings(tmp_path: Path) -> None:
    name = os.fsdecode(b"models--o--\xff\x1b[31m")
    repository(tmp_path, name)
    [item] = look(tmp_path).files
    assert item.repo == name.removeprefix("models--").replace("--", "/")


def test_a_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repository(tmp_path)
    real = os.open

    def refuse(path: object, flags: int, *args: int, **more: int) -> int:
        if path == "snapshots":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *args, **more)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(os, "open", refuse)
    tree = look(tmp_path)
    assert roles(tree) == {"abc": "blob"}
    assert tree.problem == f"`{repo / 'snapshots'}` cannot be looked at: permission denied"


def test_files_that_vanish_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path)
    real = os.readlink

    def gone(name: str, *args: object, **more: int) -> str:
        real(name, **more)
        raise FileNotFoundError(2, "gone")

    monkeypatch.setattr(os, "readlink", gone)
    assert roles(look(tmp_path)) == {"abc": "blob"}


def test_a_registered_view(tmp_path: Path) -> None:
    world = StoreWorld(tmp_path)
    sha = world.file(b"weights")
    world.view("e", "o/m", {"a": sha}, refs=())
    [view] = registry.views(world.store.root)
    tree = scan.look_at_view(view, lambda _: None)
    assert tree.label == "e"
    assert tree.models == (("o/m", COMMIT),)
    [snapshot] = tree.snapshots
    assert snapshot.is_pinned
    [item] = tree.files
    [stored] = scan.stored_files(world.store, reads=True, count=lambda _: None)
    assert item.facts.key == stored.facts.key
    assert stored.facts.links == 2


def test_a_view_that_is_gone(tmp_path: Path) -> None:
    world = StoreWorld(tmp_path)
    path = world.view("e", "o/m", {"a": world.file(b"x")})
    path.rename(tmp_path / "moved")
    [view] = registry.views(world.store.root)
    tree = scan.look_at_view(view, lambda _: None)
    assert tree.files == ()
    assert str(path) in tree.problem


def test_files_of_the_store(tmp_path: Path) -> None:
    world = StoreWorld(tmp_path)
    sha = world.file(b"x")
    folder = world.store.root / sha[:2]
    (folder / f"{sha}.1").write_bytes(b"x")
    (folder / f"{sha}.tmp").write_bytes(b"x")
    (folder / ("f" * 64)).symlink_to("/etc/passwd")
    told: list[int] = []
    found = list(scan.stored_files(world.store, reads=False, count=told.append))
    assert sorted((item.sha256, item.copy) for item in found) == [(sha, 0), (sha, 1)]
    assert {item.facts.read for item in found} == {None}


def test_progress_is_told_in_steps(tmp_path: Path) -> None:
    repo = repository(tmp_path)
    for number in range(1100):
        (repo / "blobs" / f"{number}").touch()
    told: list[int] = []
    scan.look_at_cache(tmp_path, told.append)
    assert told == [500, 500]


def test_what_lies_aside(tmp_path: Path) -> None:
    world = StoreWorld(tmp_path)
    (world.store.root / "parts" / "p").write_bytes(b"123")
    (world.store.root / "trash").rmdir()
    found = scan.aside_files(world.store)
    assert [item.size for item in found["parts"]] == [3]
    assert found["trash"] == ()


def test_mounts_say_whether_reads_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flags:
        f_flag = 0

    monkeypatch.setattr(os, "statvfs", lambda _: Flags)
    assert scan.mount_flags(Path()) == (True, False)
    Flags.f_flag = 1024
    assert scan.mount_flags(Path()) == (False, False)
    Flags.f_flag = os.ST_RDONLY
    assert scan.mount_flags(Path()) == (False, True)
