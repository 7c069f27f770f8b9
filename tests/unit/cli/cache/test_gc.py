"""`envforge cache gc`."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fakes.command_line import Run
from fakes.model_store import StoreWorld
from fakes.viewing import BERT, model, store_with, write_environment

from envforge.adapters.users import folder_of
from envforge.cache.collect_plan import Collected, CollectPlan
from envforge.cache.survey import FileFacts, StoredFile
from envforge.cli.rendering import render_usage


@pytest.fixture
def world(tmp_path: Path) -> StoreWorld:
    return StoreWorld(tmp_path)


def options(world: StoreWorld) -> tuple[str, ...]:
    return ("--store", str(world.store.root), "--envs", str(world.settings.envs_folder))


def test_what_went_and_why_the_rest_stays(run: Run, world: StoreWorld) -> None:
    world.view("v", "o/m", {"w": world.file(b"v" * 5000)})
    world.file(b"u" * 5000)
    planned = run("cache", "gc", "--older-than", "0", "--dry-run", *options(world))
    assert planned.out.splitlines() == [
        "would free 8.2 kB: 1 file that nothing uses",
        "  stays: 8.2 kB in 1 file: in views",
    ]
    assert len(world.names()) == 2
    done = run("cache", "gc", "--older-than", "0", *options(world))
    assert done.out == planned.out.replace("would free", "freed")
    assert len(world.names()) == 1
    again = run("cache", "gc", "--older-than", "0", *options(world))
    assert again.out.splitlines()[0] == "nothing to remove: everything is in use"


def test_thirty_days_unless_told_otherwise(run: Run, world: StoreWorld) -> None:
    world.file(b"u")
    done = run("cache", "gc", *options(world))
    assert done.out.startswith("nothing to remove: everything is in use, or was within 30d\n")
    assert "used within 30d" in done.out
    assert len(world.names()) == 1


def test_the_document(run: Run, world: StoreWorld) -> None:
    sha = world.file(b"u" * 5000)
    found = run("cache", "gc", "--older-than", "0", "--json", *options(world)).json
    assert found["schema"] == "envforge.cache-gc/1"
    assert found["dry_run"] is False
    assert found["freed_bytes"] == 8192
    [removed] = found["removed"]
    assert removed["sha256"] == sha
    assert found["kept"] == {}


def test_too_little_is_told_first(run: Run, world: StoreWorld) -> None:
    world.file(b"u")
    done = run("cache", "gc", "--older-than", "0", "--keep-free", "900P", *options(world))
    assert done.out.startswith("warning: ")
    assert "less will be free" in done.out
    assert world.names() == set()


def test_enough_is_free_already(run: Run, world: StoreWorld) -> None:
    world.file(b"u")
    done = run("cache", "gc", "--older-than", "0", "--keep-free", "1k", *options(world))
    assert done.out.startswith("nothing to remove: enough is free\n")
    assert "enough is free without them" in done.out
    assert len(world.names()) == 1


def test_an_empty_store(run: Run, world: StoreWorld) -> None:
    assert run("cache", "gc", *options(world)).out == "nothing to remove: the store is empty\n"


@pytest.mark.parametrize(
    ("option", "value"), [("--older-than", "soon"), ("--older-than", "30"), ("--keep-free", "x")]
)
def test_what_means_nothing(run: Run, world: StoreWorld, option: str, value: str) -> None:
    done = run("cache", "gc", option, value, *options(world))
    assert done.status == 2
    assert f"{option} `{value}`" in done.err


def stored(days: float) -> StoredFile:
    changed = time.time() - days * 86400 - 5
    facts = FileFacts(
        device=1, inode=1, size=10**9, disk=10**9, links=1, owner=0, read=None, changed=changed
    )
    return StoredFile(sha256="a" * 64, facts=facts)


def text(*files: StoredFile, **more: Any) -> list[str]:
    known = {"is_dry_run": True, **more}
    collected = Collected(plan=CollectPlan(remove=files), **known)
    return list(render_usage._collected_lines(collected, "30d"))


def test_how_long_nothing_used_it() -> None:
    assert text(stored(40)) == ["would free 1.0 GB: 1 file that nothing uses, for 40 d"]
    assert text(stored(90), stored(40)) == [
        "would free 2.0 GB: 2 files that nothing uses, for 40 d to 90 d"
    ]


def test_everything_else_that_went() -> None:
    lines = text(
        stored(40),
        is_dry_run=False,
        parts=(2, 10**6),
        leftovers=(1, 10**6),
        needed_after_all=1,
        notes=("mind\x1b that",),
    )
    assert lines == [
        "freed 2.0 MB: 2 unfinished downloads, 1 file of an interrupted collection",
        "  came into use meanwhile: 1 file",
        "note: mind\\x1b that",
    ]


def test_views_of_environments_that_are_gone(run: Run, tmp_path: Path) -> None:
    """They are named with the command that removes them, and removed when that is asked for."""
    store = store_with(tmp_path / "store", *BERT.values())
    folder = write_environment(tmp_path / "envs/nlp", model())
    given = ("--store", str(store.root), "--envs", str(tmp_path / "envs"))
    run("cache", "view", "nlp", "--flat", *given)
    view = tmp_path / f"store/views/env/{folder_of(os.geteuid())}/nlp"
    assert "that are gone" not in run("cache", "scan", *given).out
    shutil.rmtree(folder)

    named = [
        "2 views of environments that are gone:",
        f"  envforge cache view {' '.join(given)} {view} --remove",
        f"  all at once: envforge cache gc {' '.join(given)} --views",
    ]
    scanned = run("cache", "scan", *given).out
    assert "\n".join(named) in scanned
    kept = run("cache", "gc", "--older-than", "0", *given).out
    assert kept.splitlines()[-3:] == named
    assert view.is_dir()
    planned = run("cache", "gc", "--views", "--dry-run", *given).out
    assert f"would remove 2 views of environments that are gone:\n  {view}\n" in planned
    assert view.is_dir()

    done = run("cache", "gc", "--older-than", "0", "--views", *given)

    assert f"removed 2 views of environments that are gone:\n  {view}\n" in done.out
    assert "that nothing uses" in done.out
    assert not view.exists()
    assert not view.with_name("nlp.flat").exists()
    assert list(store.root.glob("??/*")) == []
    document = run("cache", "gc", "--json", *given).json
    assert (document["views"], document["gone_views"]) == ([], [])


def test_a_view_that_is_gone_can_be_removed_alone(run: Run, tmp_path: Path) -> None:
    store_with(tmp_path / "store", *BERT.values())
    folder = write_environment(tmp_path / "envs/nlp", model())
    given = ("--store", str(tmp_path / "store"), "--envs", str(tmp_path / "envs"))
    run("cache", "view", "nlp", "--flat", *given)
    shutil.rmtree(folder)
    command = run("cache", "scan", *given).out.split("that are gone:\n  ")[1].splitlines()[0]

    assert run(*command.split()[1:]).status == 0

    assert "that are gone" not in run("cache", "scan", *given).out


def test_an_environment_out_of_sight_is_not_gone(run: Run, tmp_path: Path) -> None:
    """The disk with all environments may not be mounted."""
    store_with(tmp_path / "store", *BERT.values())
    write_environment(tmp_path / "disk/envs/nlp", model())
    given = ("--store", str(tmp_path / "store"), "--envs", str(tmp_path / "disk/envs"))
    run("cache", "view", "nlp", *given)
    (tmp_path / "disk").rename(tmp_path / "unmounted")

    assert "that are gone" not in run("cache", "scan", *given).out
