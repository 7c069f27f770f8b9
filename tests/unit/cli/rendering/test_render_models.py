"""The documents of `cache lock`, `check` and `diff`, which other programs rely on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envforge.cache import lock_check
from envforge.cli.rendering import render_models, shown
from envforge.formats.models import model_spec
from envforge.model.models import LockedModel, ModelFile, ModelsLock
from envforge.model.results import ModelsResult, ModelsState

CONFIG = ModelFile(path="config.json", size=570, sha256="0f" * 32, blob="45" * 20)
WEIGHTS = ModelFile(
    path="model.safetensors", size=10**9, sha256="ab" * 32, blob="ab" * 32, xet="cd" * 32
)


def model(word: str, commit: str, *files: ModelFile) -> LockedModel:
    return LockedModel(request=model_spec.parse(word), commit=commit * 20, files=files)


BEFORE = ModelsLock(models=(model("org/name", "1a", CONFIG), model("old", "2b", CONFIG)))
AFTER = ModelsLock(
    models=(model("dataset:org/data", "4d", CONFIG), model("org/name", "3c", WEIGHTS))
)
RESULT = ModelsResult(
    name="p-torch27-cu126",
    folder=Path("envs/p-torch27-cu126"),
    lock=AFTER,
    before=BEFORE,
    changes=lock_check.compare(BEFORE, AFTER),
)
STATES = (
    ModelsState(
        name="p",
        folder=Path("envs/p"),
        requests=tuple(item.request for item in AFTER.models),
        lock=AFTER,
        disagreements=(),
    ),
    ModelsState(
        name="q",
        folder=Path("envs/q"),
        requests=(model_spec.parse("gpt2"),),
        lock=None,
        disagreements=("there is no models-lock.yml",),
    ),
)


def test_documents(golden: Callable[[str, str], None]) -> None:
    changes = {"changes": render_models.diff_documents(RESULT.changes)}

    golden("cache-lock.json", shown.as_json("cache-lock", render_models.lock_document(RESULT)))
    golden("cache-check.json", shown.as_json("cache-check", render_models.check_document(STATES)))
    golden("cache-diff.json", shown.as_json("cache-diff", changes))


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    render_models.show_locked(RESULT)
    render_models.show_checked(STATES)
    render_models.show_diff(RESULT.changes)

    assert capsys.readouterr().out.splitlines() == [
        "locked envs/p-torch27-cu126: 2 models, 1.0 GB",
        "  dataset:org/data  4d4d4d4d4d4d  1 file  570 B",
        "  org/name          3c3c3c3c3c3c  1 file  1.0 GB  was 1a1a1a1a1a1a",
        "  no longer locked: old@main",
        "stale q",
        "  there is no models-lock.yml",
        "  mend: envforge cache lock q --keep",
        "current p: 2 models, 1.0 GB",
        "dataset:org/data@main  - -> 4d4d4d4d4d4d",
        "  +  config.json  570 B",
        "old@main  2b2b2b2b2b2b -> -",
        "  -  config.json  570 B",
        "org/name@main  1a1a1a1a1a1a -> 3c3c3c3c3c3c",
        "  -  config.json        570 B",
        "  +  model.safetensors  1.0 GB",
    ]
