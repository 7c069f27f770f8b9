"""`report` over real git, a real store and the real command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.overviews import bench_result
from fakes.repository import Repository, make_repository
from fakes.workplace import NAME, fake_forge, make_environment

from envforge.around.bench import bench_file
from envforge.cache.treemap import Share
from envforge.cache.usage import Usage
from envforge.errors import InvalidValue
from envforge.forge import Forge, reporting
from envforge.forge.benching import bench


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    monkeypatch.chdir(tmp_path)
    return fake_forge(tmp_path)


@pytest.fixture
def repository(forge: Forge) -> Repository:
    """Two environments, committed."""
    found = make_repository(forge.settings.envs_folder.parent)
    make_environment(forge)
    make_environment(forge, "q")
    found.git("add", "envs")
    found.git("commit", "--quiet", "--message", "x")
    return found


def test_nothing_moved(forge: Forge, repository: Repository) -> None:
    changes = forge.report().changes
    assert (changes.since, changes.same, changes.environments) == ("HEAD", 2, ())
    assert repository.git("rev-parse", "HEAD").startswith(changes.commit)
    assert len(changes.commit) == 12


def test_what_moved_came_and_went(forge: Forge, repository: Repository) -> None:
    forge.add(NAME, ["scikit-learn"], install=False)
    forge.remove("q", folder=True)
    make_environment(forge, "r")
    changes = forge.report().changes

    assert [(item.kind, item.name) for item in changes.environments] == [
        ("moved", NAME),
        ("new", "r-torch27-cu126"),
        ("gone", "q-torch27-cu126"),
    ]
    [move] = changes.environments[0].moves
    assert (move.package, move.sign, move.why) == ("scikit-learn", "+", "asked for")
    assert changes.same == 0


def test_what_has_no_lock_that_can_be_read_is_not_the_same(
    forge: Forge, repository: Repository
) -> None:
    envs = forge.settings.envs_folder
    (envs / NAME / "conda-lock.yml").unlink()
    (envs / "q-torch27-cu126/conda-lock.yml").write_text("version: 99\n")

    changes = forge.report().changes

    assert [(item.kind, item.summary) for item in changes.environments] == [
        ("unknown", "cannot be compared"),
        ("gone", "its lock is gone"),
    ]
    assert changes.same == 0


def test_since_an_older_revision(forge: Forge, repository: Repository) -> None:
    repository.git("tag", "v1")
    forge.add(NAME, ["scikit-learn"], install=False)
    repository.git("add", "envs")
    repository.git("commit", "--quiet", "--message", "y")

    assert forge.report().changes.same == 2
    found = forge.report(since="v1").changes
    assert [item.name for item in found.environments] == [NAME]
    assert found.same == 1


@pytest.mark.parametrize("revision", ["nowhere", "--output=x", "HEAD:envs", ""])
def test_a_revision_that_is_none(forge: Forge, repository: Repository, revision: str) -> None:
    with pytest.raises(InvalidValue, match="revision"):
        forge.report(since=revision)


def test_in_a_shallow_clone_the_way_out_is_told(
    forge: Forge, repository: Repository, tmp_path: Path
) -> None:
    """As workflows make them: what came before the last commit is not there."""
    top = repository.git("rev-parse", "--show-toplevel").strip()
    commit = repository.git("rev-parse", "HEAD").strip()
    (Path(top) / ".git/shallow").write_text(f"{commit}\n")

    with pytest.raises(InvalidValue) as caught:
        forge.report(since="v0")

    assert "git fetch --unshallow" in (caught.value.hint or "")


def test_a_lock_that_cannot_be_compared_is_said(forge: Forge, repository: Repository) -> None:
    path = forge.settings.envs_folder / NAME / "conda-lock.yml"
    good = path.read_text()
    path.write_text("version: 99\n")
    repository.git("commit", "--quiet", "--all", "--message", "broken")
    path.write_text(good)
    [found] = forge.report().changes.environments
    assert (found.name, found.kind) == (NAME, "unknown")
    assert found.notes != ()


def test_outside_a_repository(forge: Forge) -> None:
    make_environment(forge)
    found = forge.report()
    assert "is in no git repository" in found.changes.problem
    with pytest.raises(InvalidValue, match="is in no git repository") as caught:
        forge.report(since="v1.0")
    assert "leave out `--since`" in str(caught.value.hint)
    assert [row.name for row in found.environments] == [NAME]
    with pytest.raises(InvalidValue):
        forge.report(since="HEAD")


def test_a_repository_without_commits(forge: Forge, tmp_path: Path) -> None:
    make_repository(tmp_path)
    make_environment(forge)
    assert "HEAD" in forge.report().changes.problem


def test_without_a_store(forge: Forge) -> None:
    assert "cache init" in forge.report().disk.problem


def test_the_store_is_measured(forge: Forge) -> None:
    forge.cache.init()
    file = forge.cache.store.root / "ab" / ("ab" + "c" * 62)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * 50_000)
    disk = forge.report().disk

    assert disk.problem == ""
    assert disk.total == disk.reclaimable >= 50_000
    [tile] = disk.tiles
    assert (tile.users, tile.part) == ("nobody", "reclaimable")
    assert (tile.x, tile.y, tile.width, tile.height) == pytest.approx((0, 0, 100, 100))


def test_a_benchmark_of_an_environment(forge: Forge, tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(bench_file.write(replace(bench_result(), against=None)))
    rows = forge.report(benchmarks=[path]).benchmarks
    assert len(rows) == 4
    assert json.loads(path.read_text())["schema"] == "envforge.bench/1"


def test_the_last_benchmark_is_remembered(forge: Forge) -> None:
    folder = make_environment(forge)
    result = replace(bench_result(), against=None, comparisons=())
    result = replace(result, side=replace(result.side, name=folder.name))
    bench._remember(forge._workplace, result)
    assert {row.name for row in forge.report().benchmarks} == {NAME}


def test_many_small_parts_become_one(forge: Forge) -> None:
    shares = [
        Share(users=("a",), repo=f"r{number:03}", part="own", bytes=1000 - number)
        for number in range(100)
    ]
    disk = reporting._measured(usage_of(forge), shares, "/home/anna")
    assert len(disk.tiles) == 61
    assert sum(tile.bytes for tile in disk.tiles) == sum(item.bytes for item in shares)
    [rest] = [tile for tile in disk.tiles if tile.repo == "40 smaller ones"]
    assert rest.users == "several"
    assert [tile.bytes for tile in disk.tiles] == sorted(
        (tile.bytes for tile in disk.tiles), reverse=True
    )


def usage_of(forge: Forge) -> Usage:
    forge.cache.init()
    return forge.cache.scan()
