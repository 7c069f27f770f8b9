"""What real clients, of 2022 to today, make of a view: each in its own virtual environment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.hub_clients import EVERYTHING, Installed, installed, with_torch
from fakes.local_hub import LocalHub
from fakes.served_models import BERT, DATA, ROWS, STRANGER, World, make_world
from fakes.tiny_model import HIDDEN, WORDS, tiny_bert, values

HUBS = ("hub-0.16", "hub-0.23", "hub-0.36", "hub-newest")
ENDS = HUBS if EVERYTHING else (HUBS[0], HUBS[-1])
"""For what changed little between: all of them where there is time."""
NAMES = sorted(tiny_bert())
SENTENCE = "the cat sat"
NUMBERS = [2, *(WORDS.index(word) for word in SENTENCE.split()), 3]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as served:
        yield served


@pytest.fixture
def world(hub: LocalHub, tmp_path: Path) -> World:
    return make_world(hub, tmp_path)


@pytest.fixture
def open_world(hub: LocalHub, open_folder: Path) -> World:
    return make_world(hub, open_folder)


@pytest.fixture(params=HUBS)
def client(request: pytest.FixtureRequest) -> Installed:
    return installed(request.param)


def snapshot_offline(client: Installed) -> dict[str, object]:
    """Hub 0.16 looks for the network though it is told to be offline, unless told so twice."""
    return {"local_files_only": True} if client.client.hub < (0, 19) else {}


@pytest.fixture(params=ENDS)
def oldest_or_newest(request: pytest.FixtureRequest) -> Installed:
    return installed(request.param)


# --- reading --------------------------------------------------------------------------------


def test_everything_is_read_offline_from_the_stores_inodes(client: Installed, world: World) -> None:
    """By file and by snapshot, by `main` and by commit; the hub is asked nothing."""
    steps = [("file", {"repo": BERT, "name": name}) for name in NAMES]
    steps += [
        ("snapshot", {"repo": BERT, **snapshot_offline(client)}),
        ("snapshot", {"repo": BERT, "revision": world.second, **snapshot_offline(client)}),
        ("file", {"repo": DATA, "name": "train.jsonl", "repo_type": "dataset"}),
    ]

    answers = client.run(*steps, env=world.client_environment("new"))

    assert [answer.error for answer in answers] == [""] * len(steps)
    for name, answer in zip(NAMES, answers, strict=False):
        assert answer.result["sha256"] == world.sha256("new", name)
        assert answer.result["inode"] == world.inode("new", name)
    for answer in answers[len(NAMES) : -1]:
        assert sorted(answer.result) == NAMES
    assert answers[-1].result["sha256"] == hashlib.sha256(ROWS).hexdigest()
    assert world.hub.log == []


def test_huggingface_hub_0_10_reads_a_view(world: World) -> None:
    """The first that knew this kind of cache at all; it knows no offline mode but by argument."""
    about = {"repo": BERT, "name": "model.safetensors", "local_files_only": True}

    [answer] = installed("flat").run(("file", about), env=world.client_environment("old"))

    assert answer.error == ""
    assert answer.result["inode"] == world.inode("old", "model.safetensors")
    assert world.hub.log == []


def test_two_environments_pin_two_commits_of_one_repository(
    oldest_or_newest: Installed, world: World
) -> None:
    """Each of them sees its own as `main`; what both have is one inode."""
    seen = {}
    for name in ("old", "new"):
        ask = ("snapshot", {"repo": BERT, **snapshot_offline(oldest_or_newest)})
        [answer] = oldest_or_newest.run(ask, env=world.client_environment(name))
        assert answer.error == ""
        seen[name] = answer.result

    for name in ("old", "new"):
        assert seen[name]["model.safetensors"]["inode"] == world.inode(name, "model.safetensors")
    weights = [seen[name]["model.safetensors"]["sha256"] for name in ("old", "new")]
    assert weights[0] != weights[1]
    assert seen["old"]["config.json"]["inode"] == seen["new"]["config.json"]["inode"]


def test_a_tag_is_found_by_its_name(oldest_or_newest: Installed, world: World) -> None:
    ask = ("file", {"repo": BERT, "name": "model.safetensors", "revision": "v1"})

    [answer] = oldest_or_newest.run(ask, env=world.client_environment("old"))

    assert answer.result["inode"] == world.inode("old", "model.safetensors")


def test_a_scan_finds_what_is_locked_and_nothing_amiss(
    oldest_or_newest: Installed, world: World
) -> None:
    [answer] = oldest_or_newest.run(("scan", []), env=world.client_environment("old"))

    assert answer.result["repos"][BERT] == {world.first: ["main", "v1"]}
    assert sorted(answer.result["repos"]) == [BERT, DATA]
    expected = ("CACHEDIR.TAG", ".locks")  # clients older than these names wonder at them
    odd = [said for said in answer.result["warnings"] if not any(n in said for n in expected)]
    assert odd == []


def test_a_file_that_is_not_locked_is_no_file_offline(
    oldest_or_newest: Installed, world: World
) -> None:
    ask = ("file", {"repo": BERT, "name": "pytorch_model.bin", "local_files_only": True})

    [answer] = oldest_or_newest.run(ask, env=world.client_environment("old"))

    assert "EntryNotFound" in answer.error
    assert world.hub.log == []


# --- online, as another user ----------------------------------------------------------------


@as_root
def test_a_user_goes_online_with_a_view_and_fetches_only_what_is_new(
    client: Installed, open_world: World
) -> None:
    """The owner of the store made the view; its user has the folders, and none of the files."""
    world = open_world
    env = world.client_environment("new", offline=False, user=str(STRANGER))
    before = world.payload()
    third = world.bert.commit({"extra.json": b"{}", "vocab.txt": b"[PAD]\n[UNK]\n"})
    warm = world.folder / "warm"

    become, cached, fresh, extra = client.run(
        ("become", [STRANGER, BERT, str(warm)]),
        ("snapshot", {"repo": BERT, "revision": world.second}),
        ("snapshot", {"repo": BERT}),
        ("file", {"repo": BERT, "name": "extra.json"}),
        env=env,
    )

    assert (become.error, cached.error, fresh.error, extra.error) == ("", "", "", "")
    assert f"/snapshots/{third}/" in fresh.result["extra.json"]["path"]
    # the weights are the store's, in the snapshot that the client made, too
    assert fresh.result["model.safetensors"]["inode"] == world.inode("new", "model.safetensors")
    assert fresh.result["vocab.txt"]["sha256"] == hashlib.sha256(b"[PAD]\n[UNK]\n").hexdigest()
    assert world.payload() == before


@as_root
def test_a_user_cannot_write_through_a_view(oldest_or_newest: Installed, open_world: World) -> None:
    world = open_world
    view = world.view("new", user=str(STRANGER))
    env = world.client_environment("new", offline=False, user=str(STRANGER))
    path = next(view.glob(f"models--*/snapshots/{world.second}/model.safetensors"))
    before = world.payload()

    become, write, chmod = oldest_or_newest.run(
        ("become", [STRANGER, BERT, str(world.folder / "warm")]),
        ("write", [str(path)]),
        ("chmod", [str(path)]),
        env=env,
    )

    assert become.error == ""
    assert "PermissionError" in write.error
    assert "PermissionError" in chmod.error
    assert world.payload() == before


@as_root
def test_a_user_removes_a_revision_and_the_store_keeps_it(
    client: Installed, open_world: World
) -> None:
    """`hf cache rm` of each version removes names of the view; other views do not notice."""
    world = open_world
    env = world.client_environment("new", offline=False, user=str(STRANGER))
    other = world.client_environment("old")
    before = world.payload()

    become, deleted, again = client.run(
        ("become", [STRANGER, BERT, str(world.folder / "warm")]),
        ("delete", [world.second]),
        ("scan", []),
        env=env,
    )
    assert (become.error, deleted.error, again.error) == ("", "", "")
    assert BERT not in again.result["repos"]
    assert world.payload() == before

    restored = world.client_environment("new", user=str(STRANGER))
    [whole] = client.run(("snapshot", {"repo": BERT, **snapshot_offline(client)}), env=restored)
    assert sorted(whole.result) == NAMES
    [untouched] = client.run(("snapshot", {"repo": BERT, **snapshot_offline(client)}), env=other)
    assert sorted(untouched.result) == NAMES


# --- loaders --------------------------------------------------------------------------------


def test_transformers_loads_configuration_tokenizer_and_weights(
    client: Installed, world: World
) -> None:
    """Offline, by name, of the years 2023 to today; the weights by the safetensors library."""
    config, tokens, weights = client.run(
        ("hidden_size", [BERT]),
        ("tokens", [BERT, SENTENCE]),
        ("weights", [BERT]),
        env=world.client_environment("new"),
    )

    assert (config.error, tokens.error, weights.error) == ("", "", "")
    assert config.result == HIDDEN
    assert tokens.result == NUMBERS
    expected = {name: data[:4] for name, (_, data) in values(seed=2).items()}
    assert weights.result == {name: pytest.approx(data) for name, data in expected.items()}
    assert world.hub.log == []


def test_transformers_before_4_22_reads_the_flat_view(world: World) -> None:
    """4.18 knows no other cache; its files are the store's inodes as well."""
    client = installed("flat")
    env = world.client_environment("old", flat=True)
    # no transformers is installed in the environment, so nothing says that it is an old one
    env["TRANSFORMERS_CACHE"] = world.forge.cache.variables(world.env("old")).flat

    config, tokens, weights = client.run(
        ("hidden_size", {"repo": BERT, "config": "BertConfig"}),
        ("tokens", {"repo": BERT, "text": SENTENCE, "tokenizer": "BertTokenizer"}),
        ("flat_file", [BERT, "model.safetensors"]),
        env=env,
    )

    assert (config.error, tokens.error, weights.error) == ("", "", "")
    assert config.result == HIDDEN
    assert tokens.result == NUMBERS
    assert weights.result["inode"] == world.inode("old", "model.safetensors")
    assert world.hub.log == []


def test_transformers_makes_one_model_by_name_and_by_path(world: World) -> None:
    client = with_torch()
    env = world.client_environment("new")
    path = world.forge.cache.path(BERT, policy="local-only", cache=Path(env["HF_HUB_CACHE"]))

    by_name, by_path = client.run(
        ("embedding", [BERT, SENTENCE]), ("embedding", [path, SENTENCE]), env=env
    )

    assert (by_name.error, by_path.error) == ("", "")
    assert len(by_name.result) == HIDDEN
    assert by_path.result == by_name.result
    assert world.hub.log == []


def test_datasets_reads_the_rows_of_a_path(world: World) -> None:
    """By name it knows, offline, its own Arrow cache alone, which is not the hub's."""
    client = installed("torch")
    env = world.client_environment("new")
    cache = Path(env["HF_HUB_CACHE"])
    path = world.forge.cache.path(f"dataset:{DATA}", policy="local-only", cache=cache)

    by_path, by_name = client.run(
        ("dataset", [path]),
        ("dataset", [DATA]),
        env={**env, "HF_DATASETS_CACHE": str(world.folder / "arrow")},
    )

    assert by_path.result == [{"text": "the cat"}, {"text": "the dog"}]
    assert "Couldn't reach" in by_name.error
    assert world.hub.log == []
