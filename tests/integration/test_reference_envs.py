"""`envs/` is what the tool writes: made again from the same metadata, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envforge import Forge
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import Lock
from envforge.solve import record

ENVS = Path(__file__).parents[2] / "envs"
FOLDERS = sorted(path.parent for path in ENVS.glob("*/conda-lock.yml"))


def lock_of(folder: Path) -> Lock:
    path = folder / "conda-lock.yml"
    return conda_lock_yml.read(path.read_text(encoding="utf-8"), str(path))


def test_the_six_uses_are_there() -> None:
    targets = [lock_of(folder).target for folder in FOLDERS]

    claims = [(t.torch, str(t.cuda) if t.cuda else "cpu", t.source) for t in targets if t]
    assert ("2.0.1", "11.8", "pytorch") in claims
    assert ("1.13.1", "11.7", "pytorch") in claims
    assert ("2.1.0", "12.1", "pytorch") in claims
    assert {cuda.split(".")[0] for _, cuda, source in claims if source == "conda-forge"} >= {
        "12",
        "13",
        "cpu",
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_tool_writes_the_same_bytes(
    folder: Path, tmp_path: Path, shared_channels: Path
) -> None:
    request = json.loads(lock_of(folder).metadata[record.KEY])
    project = request.pop("project")
    forge = Forge(overrides={"envs": tmp_path, "mirror": shared_channels})

    result = forge.lock(project, **request)

    assert result.name == folder.name
    for path in sorted(folder.iterdir()):
        assert (result.folder / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_nothing_of_the_machine_is_in_them(folder: Path) -> None:
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "file://" not in text
        assert str(Path.home()) not in text
    assert {
        package.channel_url.removeprefix("https://conda.anaconda.org/")
        for package in lock_of(folder).packages
    } <= {"conda-forge", "pytorch", "nvidia"}
