"""`update` with the real solver: on a small channel, on real metadata, and with models of a hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.channel_metadata import write_channels
from fakes.command_line import Run, run_envforge
from fakes.conda_solver import package
from fakes.installing import make_settings
from fakes.local_hub import LocalHub
from fakes.workplace import FakeWorkplace, conda_forge, fake_forge, make_environment, workplace_of

from envforge.adapters.rattler_solver import RattlerSolver
from envforge.cli import options
from envforge.errors import NoSuchModel, TooManyMoves
from envforge.forge import Forge
from envforge.model.lock import Lock
from envforge.solve import least_moves

NAME = "p-torch27-cu126"
RECORDS = (
    package("app", "1", depends=("lib <2",)),
    package("app", "1.5", depends=("lib",)),
    package("app", "2", depends=("lib >=2",)),
    package("lib", "1"),
    package("lib", "2"),
    package("user", "1", depends=("lib",)),
    package("user", "2", depends=("lib",)),
    package("user", "3", depends=("lib >=2",)),
    package("user", "2.5", depends=("lib", "news")),
    package("news", "1"),
)


class SolvingWorkplace(FakeWorkplace):
    """The solver is real; wheels, installs and the machine are not."""

    @property
    def solver(self) -> RattlerSolver:  # type: ignore[override]
        if not hasattr(self, "_real"):
            self._real = RattlerSolver(self.settings)
        return self._real


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """conda-forge has torch, and since this morning newer versions of what was locked."""
    mirror = write_channels(tmp_path / "channels", (*conda_forge(), *RECORDS))
    forge = fake_forge(tmp_path, mirror=str(mirror))
    workplace_of(forge).__class__ = SolvingWorkplace
    make_environment(forge, packages=("app<1.5", "user<2", "numpy<2"))
    path = forge.settings.envs_folder / NAME / "environment.yml"
    path.write_text(re.sub("asked: <(1.5|2)\n", "asked: any\n", path.read_text()))
    return forge


@pytest.fixture
def folder(forge: Forge) -> Path:
    return forge.settings.envs_folder / NAME


@pytest.fixture
def run(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(options, "make_forge", lambda *_: forge)
    return run_envforge


def versions(lock: Lock) -> dict[str, str]:
    return {item.name: item.version for item in lock.packages}


def test_the_nearest_that_moves_nothing_else_is_named(forge: Forge, run: Run) -> None:
    """And its command does what it says."""
    with pytest.raises(TooManyMoves) as caught:
        forge.update("p", ["app"], max_moves=0)
    assert (caught.value.moves, caught.value.within) == (("lib",), ("app=1.5",))
    refused = run("update", "p", "app", "--max-moves", "0")
    [command] = re.findall(r"`envforge (update \S+ app=1.5)`", refused.err)
    assert refused.status == 4

    result = forge.update(NAME, command.split()[2:], max_moves=0)
    assert result.others == ()
    assert versions(result.lock.lock)["app"] == "1.5"


def test_nothing_else_is_offered_where_there_is_nothing(forge: Forge) -> None:
    with pytest.raises(TooManyMoves) as caught:
        forge.update("p", ["app=2"], max_moves=0)

    assert caught.value.within == ()
    assert "cannot be had without them" in str(caught.value.hint)


def test_what_brings_others_is_not_offered(forge: Forge) -> None:
    """2.5 leaves `lib` alone, and needs what was not there."""
    with pytest.raises(TooManyMoves) as caught:
        forge.update("p", ["user"], max_moves=0)

    assert caught.value.moves == ("app", "lib")
    assert caught.value.within == ()
    assert forge.update("p", ["user=2.5"], max_moves=1).others == ("news",)


def test_what_was_asked_for_is_as_new_as_can_be(forge: Forge) -> None:
    """Though the solver would rather keep `lib`, which 1.5 leaves where it is."""
    result = forge.update("p", ["app"])
    found = versions(result.lock.lock)

    assert (found["app"], found["lib"], found["user"]) == ("2", "2", "1")
    assert result.others == ("lib",)


def test_lock_keeps_what_is_locked_and_update_moves_it(forge: Forge, folder: Path) -> None:
    """As `uv lock` and `pixi lock` do; also where a line gives up its version."""
    path = folder / "environment.yml"
    path.write_text(path.read_text().replace("app=1  # asked: any", "app"))
    before = forge.show(NAME).lock
    assert before is not None
    kept = forge.lock(NAME).lock

    assert "news" not in versions(kept)
    assert versions(kept) == versions(before)
    path.write_text(path.read_text().replace("app=1  #", "app=2  #"))
    moved = versions(forge.lock(NAME).lock)
    assert {key for key, value in moved.items() if value != versions(before)[key]} == {"app", "lib"}
    assert versions(forge.update(NAME, ["user"]).lock.lock)["user"] == "3"


# --- models ---------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub() as hub:
        yield hub


def test_models_are_pinned_anew(tmp_path: Path, hub: LocalHub) -> None:
    """In the same update, and in a folder beside; without `--models` they stay."""
    environment = {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    forge = fake_forge(tmp_path, environment=environment)
    repo = hub.add("org/name", {"config.json": "{}"})
    folder = make_environment(forge, models=("org/name",))
    old = (folder / "models-lock.yml").read_text()
    repo.commit({"config.json": '{"a": 1}'})

    assert forge.update("p").lock.models is None
    assert (folder / "models-lock.yml").read_text() == old
    planned = forge.update("p", models=True, dry_run=True)
    assert [change.repo.id for change in planned.comparison.models] == ["org/name"]
    assert (folder / "models-lock.yml").read_text() == old

    beside = forge.update("p", cuda="12.9", models=True)
    assert repo.head in (beside.folder / "models-lock.yml").read_text()
    assert (folder / "models-lock.yml").read_text() == old
    result = forge.update(NAME, models=True)
    assert result.lock.models is not None
    assert repo.head in (folder / "models-lock.yml").read_text()
    assert not result.comparison.is_same


def test_without_models_there_is_nothing_to_pin(tmp_path: Path, hub: LocalHub) -> None:
    environment = {"HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    forge = fake_forge(tmp_path, environment=environment)
    folder = make_environment(forge, models=())
    (folder / "models.yml").write_text("models:\n  - org/gone\n")
    before = (folder / "conda-lock.yml").read_text()
    with pytest.raises(NoSuchModel):
        forge.update("p", models=True)

    assert (folder / "conda-lock.yml").read_text() == before


# --- real metadata --------------------------------------------------------------------------


@pytest.fixture
def real(shared_channels: Path, tmp_path: Path) -> Forge:
    """Torch 2.0.1 with an NLP stack, from the metadata of the channels."""
    forge = Forge(settings=make_settings(tmp_path, mirror=str(shared_channels), environment={}))
    forge.lock(
        "nlp",
        torch="2.0.1",
        cuda="11.8",
        python="3.10",
        source="pytorch",
        packages=("transformers<4.40", "torchvision"),
        platforms=("linux-64",),
    )
    return forge


def test_one_package_of_a_real_stack(real: Forge) -> None:
    result = real.update("nlp", ["transformers=4.44"])

    assert result.others == ("tokenizers",)
    [group] = result.comparison.groups
    assert (group.root, group.moves[0].cause.detail) == (
        "transformers",
        "transformers 4.44.2 needs tokenizers >=0.19,<0.20",
    )


def test_another_torch_keeps_what_it_can(real: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new name, partners of their official versions, and the rest of the old lock."""
    monkeypatch.setattr(least_moves, "CONDA_QUESTIONS", 6)  # each takes a while
    old = real.show("nlp").lock
    result = real.update("nlp", torch="2.1.0", cuda="12.1")
    assert old is not None
    new = versions(result.lock.lock)

    assert result.name == "nlp-torch21-cu121"
    assert (new["pytorch"], new["torchvision"], new["pytorch-cuda"]) == ("2.1.0", "0.16.0", "12.1")
    kept = [name for name, version in versions(old).items() if new.get(name) == version]
    assert len(kept) > len(old.packages) * 0.7
    assert new["transformers"] == versions(old)["transformers"]
    assert real.show(result.name).stale == ()


def test_an_old_solve_is_found_again(shared_channels: Path, tmp_path: Path) -> None:
    """Nothing in it is younger than the day that was asked for."""
    settings = make_settings(tmp_path, mirror=str(shared_channels), environment={})
    forge = Forge(settings=settings)
    forge.lock("t", torch="2.5.1", cuda="cpu", python="3.12", source="conda-forge")
    name = "t-torch25-cpu"
    before = forge.show(name).lock
    result = forge.update(name, exclude_newer="2024-12-31")
    dates: dict[str, int] = {}
    for subdir in ("linux-64", "noarch"):
        path = shared_channels / "conda-forge" / subdir / "repodata.json"
        for key in ("packages", "packages.conda"):
            for file, record in json.loads(path.read_text())[key].items():
                dates[file] = record.get("timestamp", 0)

    assert before is not None
    assert result.others
    assert all(dates[item.filename] < 1_735_689_600_000 for item in result.lock.lock.packages)
    assert any(dates[item.filename] >= 1_735_689_600_000 for item in before.packages)
    assert forge.show(name).stale == ()
    again = replace(result.lock.lock, metadata={})
    assert replace(forge.update(name, exclude_newer="2024-12-31").lock.lock, metadata={}) == again
    fresh = forge.lock(
        "u",
        torch="2.5.1",
        cuda="cpu",
        python="3.12",
        source="conda-forge",
        exclude_newer="2024-12-31",
    )
    assert fresh.lock.packages == again.packages
