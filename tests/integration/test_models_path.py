"""`envforge.models.path`: here first, then, where that is allowed, from a hub."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.forks import Forks
from fakes.local_hub import Fault, LocalHub
from fakes.served_models import BERT, DATA, STRANGER, World, make_world
from fakes.tiny_model import tiny_bert

from envforge import models
from envforge.errors import FileNotUsable, InvalidValue, NoSuchModel, NotCached, Unreachable
from envforge.forge import Forge
from envforge.forge.caching.front import ModelCache

NAMES = sorted(tiny_bert())
WEIGHTS = "model.safetensors"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with LocalHub() as hub:
        yield make_world(hub, tmp_path)


def cache_of(world: World, **variables: str) -> ModelCache:
    """A program of somebody with these variables, and a home of their own."""
    settings = world.forge.settings
    environment = {**settings.environment, **variables}
    return Forge(settings=replace(settings, environment=environment)).cache


def own_cache(world: World) -> Path:
    return world.forge.settings.home / ".cache" / "huggingface" / "hub"


def copied(world: World, tmp_path: Path) -> Path:
    """A cache that nobody has a record of, as an older client leaves it: it lists no files."""
    target = tmp_path / "copied"
    shutil.copytree(world.view("new"), target, symlinks=True)
    for trees in target.glob("*/trees"):
        shutil.rmtree(trees)
    return target


# --- here -----------------------------------------------------------------------------------


def test_what_is_in_the_view_is_taken_and_nobody_asked(world: World) -> None:
    view = world.view("new")

    found = cache_of(world, HF_HUB_CACHE=str(view)).path(BERT)

    assert found == str(view / "models--tiny--bert" / "snapshots" / world.second)
    assert (found.source, found.commit, found.complete) == ("local", world.second, True)
    assert Path(found, WEIGHTS).stat().st_ino == world.inode("new", WEIGHTS)
    assert world.hub.log == []


def test_a_tag_a_commit_and_the_beginning_of_one_mean_the_same(world: World) -> None:
    cache = cache_of(world, HF_HUB_CACHE=str(world.view("old")))

    found = {
        cache.path(BERT, revision=name) for name in ("v1", "main", world.first, world.first[:9])
    }
    assert len({*found, cache.path(f"{BERT}@v1")}) == 1


@pytest.mark.parametrize("variable", ["HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"])
def test_every_variable_of_the_clients_counts(world: World, tmp_path: Path, variable: str) -> None:
    below = {"HUGGINGFACE_HUB_CACHE": ".", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}
    place = tmp_path / "place"
    target = place / below[variable]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(world.view("new"), target, symlinks=True)

    assert cache_of(world, **{variable: str(place)}).path(BERT).source == "local"


def test_the_view_of_the_active_environment_is_found_without_its_variables(world: World) -> None:
    view = world.view("old")

    found = cache_of(world, CONDA_DEFAULT_ENV="old").path(BERT, policy="local-only")

    assert found.cache == str(view)


def test_a_dataset_is_found_by_its_kind(world: World) -> None:
    cache = cache_of(world, HF_HUB_CACHE=str(world.view("new")))

    assert Path(cache.path(f"dataset:{DATA}"), "train.jsonl").is_file()


def test_a_part_that_was_locked_is_as_whole_as_somebody_wanted_it(world: World) -> None:
    """A view of some files has no list of all; its record says that it is as locked."""
    models_yml = Path(world.env("part")) / "models.yml"
    models_yml.parent.mkdir()
    models_yml.write_text(f"models:\n  - {{repo: {BERT}, only: tokenizer-only}}\n")
    world.forge.cache.lock(world.env("part"))
    world.forge.cache.prefill([world.env("part")])
    world.hub.forget()

    found = cache_of(world, CONDA_DEFAULT_ENV="part").path(BERT)

    assert found.source == "local"
    assert not Path(found, WEIGHTS).exists()
    assert world.hub.log == []


# --- not here -------------------------------------------------------------------------------


def test_what_is_nowhere_is_fetched_once(world: World) -> None:
    cache = cache_of(world)

    first = cache.path(BERT)
    world.hub.forget()
    second = cache.path(BERT)

    assert (first.source, second.source) == ("online", "local")
    assert first == second
    assert first.cache == str(own_cache(world))
    assert sorted(path.name for path in Path(first).iterdir()) == NAMES
    assert world.hub.log == []


def test_only_what_is_missing_is_fetched(world: World) -> None:
    cache = cache_of(world)
    Path(cache.path(BERT), "vocab.txt").resolve().unlink()
    world.hub.forget()

    again = cache.path(BERT)

    assert again.source == "online"
    assert Path(again, "vocab.txt").is_file()
    assert world.hub.count(WEIGHTS) == 0


def test_patterns_decide_what_is_enough(world: World) -> None:
    cache = cache_of(world)
    allow = ["*.json"]

    part = cache.path(BERT, allow=allow)
    assert not Path(part, WEIGHTS).exists()
    assert cache.path(BERT, allow=allow).source == "local"
    assert cache.path(BERT, allow=allow, ignore=["tok*"]).source == "local"
    assert cache.path(BERT).source == "online"  # the rest


def test_local_only_never_asks(world: World) -> None:
    with pytest.raises(NotCached) as caught:
        cache_of(world).path(BERT, policy="local-only")

    assert f"model `{BERT}` at `main` is not in" in str(caught.value)
    assert "local-only" in str(caught.value.hint)
    assert world.hub.log == []


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_who_is_offline_is_told_why_nobody_was_asked(world: World, variable: str) -> None:
    cache = cache_of(world, **{variable: "1"})

    with pytest.raises(NotCached) as caught:
        cache.path(BERT)
    assert f"{variable}=1" in str(caught.value.hint)
    with pytest.raises(Unreachable, match="offline"):
        cache.path(BERT, policy="online")
    assert world.hub.log == []


def test_a_part_is_not_handed_out_as_the_whole(world: World) -> None:
    view = world.view("new")
    next(view.glob(f"models--*/snapshots/{world.second}/vocab.txt")).unlink()

    with pytest.raises(NotCached, match="all of model"):
        cache_of(world, HF_HUB_CACHE=str(view)).path(BERT, policy="local-only")


def test_a_link_that_leads_nowhere_is_not_handed_out(world: World, tmp_path: Path) -> None:
    cache = copied(world, tmp_path)
    next(cache.glob(f"models--*/snapshots/{world.second}/vocab.txt")).resolve().unlink()

    with pytest.raises(NotCached, match="all of model"):
        cache_of(world, HF_HUB_CACHE=str(cache)).path(BERT, policy="local-only")


# --- the hub --------------------------------------------------------------------------------


def test_local_first_keeps_what_is_here_and_online_takes_the_newest(world: World) -> None:
    cache = cache_of(world)
    before = cache.path(BERT)
    third = world.bert.commit({"extra.json": b"{}"})

    kept, moved = cache.path(BERT), cache.path(BERT, policy="online")

    assert kept == before
    assert (moved.commit, moved.source) == (third, "online")
    assert cache.path(BERT).commit == third


def test_online_is_an_error_where_no_hub_answers(world: World) -> None:
    """huggingface_hub itself would hand out what it had."""
    cache = cache_of(world)
    cache.path(BERT)
    world.hub.faults["*"] = Fault(status=404)

    with pytest.raises(NoSuchModel):
        cache.path(BERT, policy="online")
    assert cache.path(BERT).source == "local"


def test_a_download_that_ends_early_is_an_error(world: World) -> None:
    world.hub.faults[WEIGHTS] = Fault(status=403)

    with pytest.raises((Unreachable, NoSuchModel)):
        cache_of(world).path(BERT)


def test_a_cache_without_a_list_is_checked_with_the_hub_where_that_answers(
    world: World, tmp_path: Path
) -> None:
    cache = cache_of(world, HF_HUB_CACHE=str(copied(world, tmp_path)))

    assert cache.path(BERT, policy="local-only").complete is None
    checked = cache.path(BERT)
    assert (checked.source, checked.complete) == ("online", True)
    assert world.hub.payload_bytes == 0


def test_a_cache_without_a_list_is_taken_where_no_hub_answers(world: World, tmp_path: Path) -> None:
    variables = {"HF_HUB_CACHE": str(copied(world, tmp_path)), "HF_ENDPOINT": "http://127.0.0.1:9"}

    found = cache_of(world, **variables).path(BERT)

    assert (found.source, found.complete) == ("local", None)


TELL = """
from envforge import models
for policy in ("local-first", "online"):
    print(models.path(sys.argv[1], policy=policy).cache)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_only_read_the_first_cache_fetches_into_their_own(
    open_folder: Path, others: Forks
) -> None:
    """No client does that itself: each ends with PermissionError."""
    home = open_folder / "stranger"
    home.mkdir()
    os.chown(home, STRANGER, STRANGER)
    with LocalHub() as hub:
        view = make_world(hub, open_folder).view("old")
        env = {"HF_HUB_CACHE": str(view), "HOME": str(home), "HF_ENDPOINT": hub.url}
        done = others.run(TELL, BERT, env=env, uid=STRANGER)

    expected = [str(view), str(home / ".cache" / "huggingface" / "hub")]
    assert done.out.splitlines() == expected, done.err


def test_where_nothing_may_be_written_that_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(FileNotUsable, match="may not be written"):
        cache_of(world).path(BERT)


# --- for programs ---------------------------------------------------------------------------


def test_the_public_function_reads_the_programs_own_variables(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(world.view("new")))
    monkeypatch.setenv("HF_ENDPOINT", world.hub.url)

    found = models.path(BERT)
    elsewhere = models.path(BERT, cache=str(tmp_path / "mine"))

    assert (found.source, elsewhere.source) == ("local", "online")
    assert elsewhere.startswith(str(tmp_path / "mine"))


def test_a_path_is_text_that_survives_a_pipe(world: World) -> None:
    found = cache_of(world, HF_HUB_CACHE=str(world.view("new"))).path(BERT)

    copy = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own

    assert isinstance(copy, str)
    assert (copy, copy.source, copy.commit) == (found, found.source, found.commit)
    assert os.path.isdir(copy)  # noqa: PTH112 - as loaders ask


def test_what_cannot_be(world: World) -> None:
    cache = cache_of(world)
    with pytest.raises(InvalidValue, match="policy `newest`"):
        cache.path(BERT, policy="newest")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="is no repository"):
        cache.path("../bert")
    with pytest.raises(InvalidValue, match="revision"):
        cache.path(BERT, revision="../../etc")
