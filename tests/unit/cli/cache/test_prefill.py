"""`envforge cache prefill`: what it says."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fakes.local_hub import LocalHub
from fakes.prefilling import FILES, REPO, PrefillWorld

from envforge.cli import cli, main
from envforge.forge.caching.front import ModelCache


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        hub.add(REPO, FILES)
        yield hub


@pytest.fixture
def world(tmp_path: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> PrefillWorld:
    world = PrefillWorld(tmp_path, hub)
    world.env("e", hub.repos["model", REPO])
    for name, value in world.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return world


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["cache", "prefill", *arguments])


def test_it_says_what_came_and_where_the_view_is(world: PrefillWorld) -> None:
    first, second = run("e"), run("e")

    assert first.exit_code == 0, first.output
    assert f"prefilled {world.store.root}: 5 files fetched (705.0 kB" in first.stdout
    assert "  view /" in first.stdout
    assert f"complete {world.store.root}: 5 files there, nothing to fetch" in second.stdout


def test_a_dry_run_says_what_would_come(world: PrefillWorld) -> None:
    part = world.store.root / "parts" / f"{'a' * 64}.left.part"
    part.write_bytes(b"of another file")

    done = run("--dry-run", "e")

    assert done.stdout == f"would fetch 5 files (705.0 kB) into {world.store.root}; 0 files there\n"


def test_json_names_every_missing_file(world: PrefillWorld) -> None:
    first: dict[str, Any] = json.loads(run("--json", "--no-view", "e").stdout)
    second: dict[str, Any] = json.loads(run("--json", "e").stdout)

    assert first["schema"] == "envforge.cache-prefill/1"
    assert first["fetched"] == {"files": 5, "bytes": 705_006, "files_by_others": 0}
    assert {item["path"] for item in first["files"]} == set(FILES)
    assert (first["views"], len(second["views"])) == ([], 1)
    assert (second["missing"]["files"], second["present"]["bytes"]) == (0, 705_006)


def test_a_store_that_is_not_there(world: PrefillWorld) -> None:
    done = run("--store", "nowhere", "e")

    assert done.exit_code == 6
    assert "envforge cache init" in done.stderr


def test_a_repository_alone_says_how_to_use_it(
    world: PrefillWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run(REPO)
    last = done.stdout.splitlines()[-1]
    assert last == f"next: envforge cache view ./models --model {REPO}"

    made = CliRunner().invoke(cli, last.removeprefix("next: envforge ").split())

    assert made.exit_code == 0, made.output
    [listed] = (world.root / "models").glob("models--*/snapshots/*")
    assert {path.name for path in listed.iterdir()} >= {"config.json"}
    assert "next:" not in run("e").stdout


def test_a_model_that_is_not_in_the_store_yet(world: PrefillWorld) -> None:
    made = CliRunner().invoke(cli, ["cache", "view", "./models", "--model", REPO])

    assert made.exit_code == 6
    assert f"`envforge cache prefill {REPO}`" in made.output


def test_a_model_for_an_environment_is_to_be_locked(world: PrefillWorld) -> None:
    made = CliRunner().invoke(cli, ["cache", "view", "e", "--model", REPO])

    assert made.exit_code == 2
    assert f"`envforge cache lock e --model {REPO}`" in made.output


def test_an_address_and_a_slip(world: PrefillWorld, hub: LocalHub) -> None:
    hub.add("org/corpus", {"a.csv": "1"}, kind="dataset")

    assert f"did you mean `{REPO}`?" in run(f"{hub.url}/{REPO}/tree/main").output
    assert "a dataset of that name: `dataset:org/corpus`" in run("org/corpus").output
    assert "no such environment either: did you mean `e`?" in run("ee").output
    assert run("e/").exit_code == 0


def test_an_environment_without_models(world: PrefillWorld) -> None:
    world.env("bare")

    done = run("bare")

    assert done.exit_code == 2
    assert "environment `bare` has no models" in done.output


def test_an_interruption_says_how_to_go_on(
    world: PrefillWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelCache, "prefill", interrupted)
    monkeypatch.delitem(sys.modules, "rattler", raising=False)  # else nothing can be caught
    with pytest.raises(SystemExit) as caught:
        main(["cache", "prefill", "e"])

    assert caught.value.code == 130
    said = "interrupted: what came is kept; the same command again goes on with it\n"
    assert capsys.readouterr().err == said
