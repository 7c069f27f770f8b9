"""The program that loads, with stand-ins for the libraries that it finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from envforge.adapters.proof import load

Order = dict[str, Any]


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(10_000))
    (tmp_path / "empty").touch()
    return {
        "repo": "org/name",
        "kind": "model",
        "revision": "v1",
        "files": ["config.json", "empty", "model.safetensors"],
    }


@pytest.fixture(autouse=True)
def only_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """No library is there but those that a test puts there."""
    for name in ("transformers", "torch", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)


def put(monkeypatch: pytest.MonkeyPatch, name: str, **content: object) -> None:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__dict__.update(content)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def asked_of_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Order]:
    """Puts in a huggingface_hub that finds everything; what it was asked."""
    asked: list[Order] = []

    def hf_hub_download(repo: str, name: str, **about: object) -> str:
        asked.append({"repo": repo, "name": name, **about})
        return str(tmp_path / name)

    put(monkeypatch, "huggingface_hub", hf_hub_download=hf_hub_download)
    return asked


class Weights:
    """A parameter that counts how often it is read."""

    def __init__(self) -> None:
        self.read = 0

    def detach(self) -> Weights:
        return self

    def reshape(self, _: int) -> Weights:
        return self

    def __getitem__(self, _: slice) -> Weights:
        return self

    def float(self) -> Weights:
        return self

    def sum(self) -> None:
        self.read += 1


def put_transformers(
    monkeypatch: pytest.MonkeyPatch, load_model: Callable[..., object]
) -> list[tuple[str, Order]]:
    asked: list[tuple[str, Order]] = []

    def auto(kind: str, made: Callable[..., object]) -> SimpleNamespace:
        def from_pretrained(repo: str, **about: object) -> object:
            asked.append((kind, {"repo": repo, **about}))
            return made()

        return SimpleNamespace(from_pretrained=from_pretrained)

    put(monkeypatch, "torch")
    put(
        monkeypatch,
        "transformers",
        AutoConfig=auto("config", dict),
        AutoModel=auto("model", load_model),
        AutoTokenizer=auto("tokenizer", dict),
        MODEL_MAPPING={dict: "its class"},
    )
    return asked


def told(capsys: pytest.CaptureFixture[str]) -> Order:
    [line] = [x for x in capsys.readouterr().out.splitlines() if x.startswith(load.MARK)]
    answer: Order = json.loads(line.removeprefix(load.MARK))
    return answer


def test_transformers_loads_where_it_can(
    monkeypatch: pytest.MonkeyPatch, order: Order, capsys: pytest.CaptureFixture[str]
) -> None:
    """Offline, by the revision that is locked, without code of the repository; all is read."""
    weights = [Weights(), Weights()]
    model = SimpleNamespace(parameters=lambda: weights)
    asked = put_transformers(monkeypatch, lambda: model)

    assert load.main({**order, "files": [*order["files"], "vocab.txt"]}) == 0

    assert told(capsys)["loader"] == "transformers.AutoModel"
    assert [kind for kind, _ in asked] == ["config", "model", "tokenizer"]
    assert asked[1][1] == {
        "repo": "org/name",
        "revision": "v1",
        "local_files_only": True,
        "trust_remote_code": False,
    }
    assert [one.read for one in weights] == [1, 1]


def test_a_model_without_a_tokenizer_is_loaded_alone(
    monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    asked = put_transformers(monkeypatch, lambda: SimpleNamespace(parameters=list))

    assert load.main(order) == 0
    assert [kind for kind, _ in asked] == ["config", "model"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "dataset"}, "no config.json"),
        ({"files": ["model.safetensors"]}, "no config.json"),
        ({"files": ["config.json"]}, "no weights"),
        ({}, "no transformers"),
    ],
)
def test_huggingface_hub_reads_the_files_of_all_else(
    order: Order,
    asked_of_hub: list[Order],
    capsys: pytest.CaptureFixture[str],
    change: Order,
    why: str,
) -> None:
    order = {**order, **change}

    assert load.main(order) == 0

    answer = told(capsys)
    assert answer["loader"] == "huggingface_hub"
    assert answer["notes"] == [f"load_model: UnableError: {why}"]
    assert [one["name"] for one in asked_of_hub] == order["files"]
    assert {(one["repo_type"], one["revision"]) for one in asked_of_hub} == {(order["kind"], "v1")}


def test_a_model_that_transformers_does_not_know_is_read_as_files(
    monkeypatch: pytest.MonkeyPatch,
    order: Order,
    asked_of_hub: list[Order],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> None:
        raise KeyError("strange_model")

    put_transformers(monkeypatch, fails)

    assert load.main(order) == 0
    assert told(capsys)["notes"] == ["load_model: KeyError: 'strange_model'"]


def test_an_environment_without_any_library_says_so(
    order: Order, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load.main(order) == 1

    assert "no huggingface_hub" in capsys.readouterr().err
