"""The store itself: what may be written into it, by whom, and what is refused."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from fakes.model_store import StoreWorld

from envforge.adapters.store.store import Store
from envforge.cache import layout
from envforge.errors import FileNotUsable, UntrustedStore

OTHER = 64102
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root works for other users")


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


@pytest.mark.parametrize("folder", ["parts", "leases", "trash", "index", "quarantine", "views"])
def test_a_folder_of_it_that_others_may_write_is_refused(world: StoreWorld, folder: str) -> None:
    """They could exchange a part between its hash and its name."""
    (world.store.root / folder).chmod(0o777)

    with pytest.raises(UntrustedStore, match=f"`{folder}`"):
        Store.open(world.store.root)
    (world.store.root / folder).chmod(0o755)
    Store.open(world.store.root)


def test_a_link_in_place_of_a_part_is_not_followed(world: StoreWorld, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("secret")
    victim.chmod(0o600)
    part = world.store.root / "parts" / "x"
    part.symlink_to(victim)

    with pytest.raises(FileNotUsable):
        world.store.insert(part, "a" * 64)

    assert victim.stat().st_mode & 0o777 == 0o600
    assert world.names() == set()


def test_a_second_inode_that_many_make_at_once(world: StoreWorld) -> None:
    """Each copies under a name of its own: what one has linked, no other opens for writing."""
    data = b"weights" * 100_000
    sha = world.file(data)
    second, failures = layout.blob(world.store.root, sha, 1), list[BaseException]()

    def make() -> None:
        try:
            world.store._copy_inode(sha, second)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert second.read_bytes() == data
    assert (second.stat().st_nlink, second.stat().st_mode & 0o777) == (1, 0o444)
    assert list((world.store.root / "parts").iterdir()) == []


@AS_ROOT
def test_what_root_brings_into_somebodys_store_is_theirs(open_folder: Path) -> None:
    """Or they could link none of it, and add nothing beside it."""
    world = StoreWorld(open_folder)
    for path in (world.store.root, *world.store.root.rglob("*")):
        os.chown(path, OTHER, OTHER)
    store = Store(world.store.root)
    part = store.root / "parts" / "x"
    part.write_bytes(b"x")

    path = store.insert(part, "a" * 64)
    store.name("ab" * 20, "a" * 64)
    store._copy_inode("a" * 64, layout.blob(store.root, "a" * 64, 1))

    made = [path, path.parent, path.with_name(f"{path.name}.1"), store.root / "index/ab"]
    assert {found.stat().st_uid for found in (*made, store.root / "index/ab" / ("ab" * 20))} == {
        OTHER
    }
