"""`scan` over a store, its views and other caches."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.model_store import COMMIT, StoreWorld, disk, tree_of

from envforge.errors import InvalidValue, NoStore
from envforge.forge.caching.front import ModelCache
from envforge.forge.workplace import Workplace


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def test_a_store_with_two_views_and_a_lock(world: StoreWorld) -> None:
    both, one, locked, unused = (world.file(text.encode() * 5000) for text in "bolu")
    world.view("a", "o/m", {"w": both, "t": one})
    world.view("b", "dataset:o/d", {"w": both}, owner=54321)
    world.lock("c", "o/n", {"w": locked})
    before = tree_of(world.root)
    found = world.cache.scan()

    def size(*hashes: str) -> int:
        return sum(disk(world.store.path(sha)) for sha in hashes)

    total = found.total
    assert (total.shared, total.own, total.reclaimable) == (
        size(both),
        size(one, locked),
        size(unused),
    )
    assert {row.name: row.bytes for row in found.rows("environment")} == {
        "a": size(both, one),
        "b": size(both),
        "c": size(locked),
        "(unused)": size(unused),
    }
    assert {row.name for row in found.rows("repo")} == {"o/m", "dataset:o/d", "o/n", "(unused)"}
    assert f"o/m@{COMMIT[:12]}" in {row.name for row in found.rows("revision")}
    assert "54321" in {row.name for row in found.rows("owner")}
    assert found.survey.problems == ()
    assert tree_of(world.root) == before
    assert world.reporter.steps == ["looking at the store and its views"]


def test_other_caches(world: StoreWorld, tmp_path: Path) -> None:
    cache = tmp_path / "hub"
    blobs = cache / "models--o--m" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "etag").write_bytes(b"1" * 5000)
    snapshot = cache / "models--o--m" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "w").symlink_to("../../blobs/etag")
    (cache / "models--o--m" / "refs").mkdir()
    (cache / "models--o--m" / "refs" / "main").write_text(COMMIT)
    found = world.cache.scan([cache, cache])
    [row] = found.rows("environment")
    assert row.name == str(cache)
    assert row.own == disk(blobs / "etag")
    assert row.modes == ("own",)


def test_a_view_that_is_named_as_well_counts_once(world: StoreWorld) -> None:
    view = world.view("a", "o/m", {"w": world.file(b"x")})
    assert len(world.cache.scan([view]).survey.trees) == 1


def test_copies_under_git_names_are_told_by_the_index(world: StoreWorld) -> None:
    sha = world.file(b"x" * 5000)
    view = world.view("a", "o/m", {"w": sha}, modes={sha: "copy"})
    etag = "e" * 40
    (view / "models--o--m" / "blobs" / sha).rename(view / "models--o--m" / "blobs" / etag)
    (view / "models--o--m" / "snapshots" / COMMIT / "w").unlink()
    (view / "models--o--m" / "snapshots" / COMMIT / "w").symlink_to(f"../../blobs/{etag}")
    world.store.name(etag, sha)
    [row] = [row for row in world.cache.scan().rows("environment") if row.name == "a"]
    assert row.modes == ("copy",)


def test_what_is_no_folder(world: StoreWorld) -> None:
    with pytest.raises(InvalidValue, match="is no folder"):
        world.cache.scan([Path("/dev/null")])


def test_problems_are_told_and_the_rest_is_counted(world: StoreWorld) -> None:
    world.view("gone", "o/m", {"w": world.file(b"x")}).rename(world.root / "elsewhere")
    world.lock("e", "o/m", {}).write_text("}")
    found = world.cache.scan()
    assert len(found.survey.problems) == 2
    assert [row.name for row in found.rows("repo")] == ["(elsewhere)"]


def test_no_store(world: StoreWorld, tmp_path: Path) -> None:
    (world.store.root / ".envforge-store").unlink()
    with pytest.raises(NoStore):
        ModelCache(Workplace(settings=world.settings)).scan()
