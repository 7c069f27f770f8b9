"""`update`: what moves, what stays, and what the folder of another torch takes over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.workplace import (
    NAME,
    TORCH,
    FakeWorkplace,
    fake_forge,
    make_environment,
    notes_of,
    workplace_of,
)

from envforge.errors import (
    EnvironmentExists,
    InvalidFile,
    InvalidValue,
    NoMatchingBuild,
    NoSuchEnvironment,
    StaleLock,
    TooManyMoves,
    Unsolvable,
)
from envforge.forge import Forge
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform

CU129 = "p-torch27-cu129"
CPU = "p-torch27-cpu"
OLD = (
    package("app", "1", depends=("lib",)),
    package("lib", "1"),
    package("other", "1"),
)
NEW = (
    package("app", "1.5", depends=("lib",)),
    package("app", "2", depends=("lib >=2",)),
    package("lib", "2"),
    package("other", "2"),
)
MODELS = "models:\n  - org/name\n"
MODELS_LOCK = "# made\nversion: 1\nmodels: []\n"


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path, packages=OLD)


@pytest.fixture
def place(forge: Forge) -> FakeWorkplace:
    return workplace_of(forge)


@pytest.fixture
def folder(forge: Forge, place: FakeWorkplace) -> Path:
    """An environment, and a channel that has newer packages since it was locked."""
    made = make_environment(forge, packages=("app", "other", "numpy<2"))
    publish(place, *NEW)
    return made


def publish(place: FakeWorkplace, *packages: LockedPackage) -> None:
    place.conda.packages = (*place.conda.packages, *packages)


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def locked(forge: Forge, env: str = "p", platform: Platform = "linux-64") -> dict[str, str]:
    lock = forge.show(env).lock
    assert lock is not None
    return {item.name: item.version for item in lock.for_platform(platform)}


def line(folder: Path, name: str) -> str:
    text = (folder / "environment.yml").read_text()
    return next(each.strip() for each in text.splitlines() if f"- {name}" in each)


# --- in place -------------------------------------------------------------------------------


def test_one_package_moves_and_what_it_needs(forge: Forge, folder: Path) -> None:
    result = forge.update("p", ["app"])

    assert {"app": "2", "lib": "2", "other": "1"}.items() <= locked(forge).items()
    assert (result.asked, result.others) == (("app",), ("lib",))
    assert (result.name, result.old_name, result.folder) == (NAME, NAME, folder)
    assert result.lock.outcome == "written"
    assert [move.name for move in result.comparison.asked] == ["app"]
    [group] = result.comparison.groups
    assert (group.root, [move.name for move in group.moves]) == ("app", ["lib"])
    assert line(folder, "app") == "- app=2  # asked: any"
    assert line(folder, "other") == "- other=1  # asked: any"
    assert forge.show("p").stale == ()


def test_again_changes_nothing_and_says_so(forge: Forge, folder: Path) -> None:
    forge.update("p", ["app"])
    before = texts(folder)
    result = forge.update("p", ["app"])

    assert (result.lock.outcome, result.others) == ("unchanged", ())
    assert result.comparison.is_same
    assert texts(folder) == before
    assert notes_of(forge)[-1] == "`app` stays at 2: nothing newer fits"


def test_without_names_everything_becomes_as_new_as_its_range_lets_it(
    forge: Forge, folder: Path
) -> None:
    result = forge.update("p")

    assert {"app": "2", "lib": "2", "other": "2", "numpy": "1.26.4"}.items() <= locked(
        forge
    ).items()
    assert result.asked == ()
    assert result.others == ("app", "lib", "other")


def test_a_range_stands_in_environment_yml_afterwards(forge: Forge, folder: Path) -> None:
    publish(workplace_of(forge), package("numpy", "1.25.2"))
    forge.update("p", ["numpy=1.25"])

    assert line(folder, "numpy") == "- numpy=1.25.2  # asked: =1.25"
    assert locked(forge)["numpy"] == "1.25.2"
    assert forge.show("p").stale == ()


def test_what_nobody_asked_for_by_name_can_move_too(forge: Forge, folder: Path) -> None:
    result = forge.update("p", ["lib"])
    assert (result.others, locked(forge)["lib"]) == ((), "2")

    forge.update("p", ["lib=1"])
    assert locked(forge)["lib"] == "1"
    assert line(folder, "lib") == "- lib=1"
    assert any("`lib` is a line of environment.yml now" in note for note in notes_of(forge))


def test_a_dry_run_writes_nothing(forge: Forge, folder: Path) -> None:
    before = texts(folder)
    result = forge.update("p", ["app"], dry_run=True)

    assert result.lock.outcome == "planned"
    assert result.others == ("lib",)
    assert texts(folder) == before


def test_an_edit_is_solved_with_the_rest(forge: Forge, folder: Path) -> None:
    path = folder / "environment.yml"
    path.write_text(path.read_text().replace("  - other=1  # asked: any\n", ""))
    forge.update("p", ["app"])

    assert "other" not in locked(forge)
    assert any("was edited since it was locked" in note for note in notes_of(forge))


# --- what is refused ------------------------------------------------------------------------


def test_too_many_moves(forge: Forge, folder: Path) -> None:
    before = texts(folder)
    with pytest.raises(TooManyMoves) as caught:
        forge.update("p", ["app"], max_moves=0)

    assert texts(folder) == before
    error = caught.value
    assert (error.moves, error.allowed, error.exit_code) == (("lib",), 0, 4)
    assert str(error) == f"updating `{NAME}` moves 1 other, and 0 are allowed: lib"
    assert forge.update("p", ["app"], max_moves=1).others == ("lib",)


def test_too_many_moves_of_everything(forge: Forge, folder: Path) -> None:
    with pytest.raises(TooManyMoves) as caught:
        forge.update("p", max_moves=2)

    assert str(caught.value).endswith("moves 3 packages, and 2 are allowed: app, lib, other")
    assert caught.value.within == ()
    assert forge.update("p", max_moves=3).others == ("app", "lib", "other")


@pytest.mark.parametrize(
    ("packages", "error"),
    [
        (["app=9"], Unsolvable),
        (["rich"], InvalidValue),
        (["pytorch=2.6"], InvalidValue),
        (["cuda-version=12.9"], InvalidValue),
    ],
)
def test_what_cannot_be_writes_nothing(
    packages: list[str], error: type[Exception], forge: Forge, folder: Path
) -> None:
    before = texts(folder)
    with pytest.raises(error):
        forge.update("p", packages)

    assert texts(folder) == before


def test_what_is_not_locked_is_locked_first(forge: Forge, folder: Path) -> None:
    (folder / "conda-lock.yml").unlink()
    with pytest.raises(StaleLock, match="there is no conda-lock") as caught:
        forge.update("p")

    assert caught.value.hint == f"`envforge lock {NAME}` makes it"
    with pytest.raises(NoSuchEnvironment):
        forge.update("q")


def test_a_renamed_folder_is_refused(forge: Forge, folder: Path) -> None:
    folder.rename(folder.with_name("q-torch27-cu126"))
    with pytest.raises(InvalidFile, match="but the folder is"):
        forge.update("q-torch27-cu126", ["app"])


# --- as it was once -------------------------------------------------------------------------


def test_a_moment_reaches_the_solver_and_the_lock(
    forge: Forge, folder: Path, place: FakeWorkplace
) -> None:
    """The next solve knows nothing of it any more."""
    place.conda.asked.clear()
    result = forge.update("p", exclude_newer="2024-03-01")

    assert {problem.exclude_newer for problem in place.conda.asked} == {"2024-03-01T23:59:59Z"}
    key = "envforge.exclude_newer"
    assert result.lock.lock.metadata[key] == "2024-03-01T23:59:59Z"
    assert key not in forge.update("p").lock.lock.metadata


def test_it_reaches_the_wheels_too(forge: Forge, place: FakeWorkplace) -> None:
    wheels = {"torch": "2.7.1", "cuda": "cpu", "source": "wheels", "packages": ["einops"]}
    forge.lock("w", **wheels)
    place.shelf.asked.clear()
    result = forge.update("w", ["einops"], exclude_newer="2024-03-01T00:00:00Z")

    assert {item.exclude_newer for item in place.shelf.asked} == {"2024-03-01T00:00:00Z"}
    preferred = {item.name for item in place.shelf.asked[0].preferred}
    assert "torch" in preferred
    assert "einops" not in preferred
    assert result.lock.outcome == "written"  # the moment stands in the lock


# --- beside ---------------------------------------------------------------------------------


def test_another_cuda_gets_a_folder_of_its_own(forge: Forge, folder: Path) -> None:
    before = texts(folder)
    result = forge.update("p", cuda="12.9")
    made = folder.with_name(CU129)

    assert texts(folder) == before
    assert (result.name, result.old_name, result.folder) == (CU129, NAME, made)
    assert result.lock.outcome == "written"
    assert line(made, "pytorch") == f"- pytorch={TORCH}=*cuda129*"
    assert line(made, "cuda-version") == "- cuda-version=12.9"
    assert line(made, "numpy") == "- numpy=1.26.4  # asked: <2"
    assert "__cuda: '12.9'" in (made / "virtual-packages.yml").read_text()
    found = locked(forge, CU129)
    assert {"app": "1", "lib": "1", "other": "1"}.items() <= found.items()
    assert forge.show(CU129).stale == ()
    assert result.others == ()
    assert {row.fact for row in result.comparison.gpu if row.differs} >= {"CUDA"}


def test_packages_can_move_with_it(forge: Forge, folder: Path) -> None:
    result = forge.update("p", ["app", "other=2"], cuda="12.9")
    made = folder.with_name(CU129)

    assert {"app": "2", "lib": "2", "other": "2"}.items() <= locked(forge, CU129).items()
    assert line(made, "other") == "- other=2"
    assert result.others == ("lib",)


def test_create_finds_it_and_keeps_it(forge: Forge, folder: Path) -> None:
    """It is what the same request with another CUDA would have asked for."""
    forge.update("p", cuda="12.9")
    asked: dict[str, Any] = {"torch": TORCH, "cuda": "12.9", "python": "3.10"}
    again = forge.lock("p", **asked, packages=("app", "other", "numpy<2"))

    assert again.outcome == "unchanged"


def test_variables_and_models_come_along(forge: Forge, folder: Path) -> None:
    path = folder / "environment.yml"
    path.write_text(path.read_text() + "variables:\n  OMP_NUM_THREADS: '4'\n")
    (folder / "models.yml").write_text(MODELS)
    (folder / "models-lock.yml").write_text(MODELS_LOCK)
    forge.update("p", cuda="cpu")
    made = folder.with_name(CPU)

    assert "OMP_NUM_THREADS: '4'" in (made / "environment.yml").read_text()
    assert (made / "models.yml").read_text() == MODELS
    assert (made / "models-lock.yml").read_text() == MODELS_LOCK
    assert "__cuda" not in (made / "virtual-packages.yml").read_text()
    assert "cuda-version" not in locked(forge, CPU)


def test_the_machine_stays_as_it_was_described(forge: Forge, folder: Path) -> None:
    path = folder / "virtual-packages.yml"
    path.write_text(path.read_text().replace("2.28", "2.35"))
    forge.update("p", cuda="12.9")
    text = (folder.with_name(CU129) / "virtual-packages.yml").read_text()

    assert "__glibc: '2.35'" in text


def test_a_folder_that_is_there_is_left_alone(forge: Forge, folder: Path) -> None:
    forge.update("p", cuda="12.9")
    before = texts(folder.with_name(CU129))
    with pytest.raises(EnvironmentExists, match="exists already") as caught:
        forge.update(NAME, ["app"], cuda="12.9")

    assert texts(folder.with_name(CU129)) == before
    assert f"`envforge update {CU129}`" in str(caught.value.hint)


def test_the_same_name_is_updated_in_place(forge: Forge, folder: Path) -> None:
    """2.7.1 is what it has: nothing but the header may change."""
    result = forge.update("p", torch=TORCH)

    assert (result.name, result.others) == (NAME, ())
    assert sorted(path.name for path in folder.parent.iterdir()) == [NAME]


def test_too_many_moves_beside(forge: Forge, folder: Path) -> None:
    with pytest.raises(TooManyMoves) as caught:
        forge.update("p", ["app"], cuda="12.9", max_moves=0)

    assert caught.value.within == ()
    assert not folder.with_name(CU129).exists()


@pytest.mark.parametrize("asked", [{"torch": "9.9"}, {"cuda": "10.0"}])
def test_what_does_not_exist(asked: dict[str, str], forge: Forge, folder: Path) -> None:
    with pytest.raises(NoMatchingBuild):
        forge.update("p", **asked)  # type: ignore[arg-type]

    assert [path.name for path in folder.parent.iterdir()] == [NAME]


def test_a_python_that_nobody_asked_for_may_change(tmp_path: Path) -> None:
    """2.7.1 for CUDA 12.9 is there for Python 3.11 only."""
    newer = (
        package("python", "3.11.9"),
        package(
            "pytorch",
            TORCH,
            "cuda129_generic_py311_201",
            depends=("python >=3.11,<3.12.0a0", "__cuda", "cuda-version >=12.9,<13"),
        ),
    )
    forge = fake_forge(tmp_path)
    place = workplace_of(forge)
    make_environment(forge)
    lock = forge.show("p").lock
    assert lock is not None
    place.conda.packages = [
        *(item for item in place.conda.packages if "cuda129" not in item.build),
        *newer,
    ]
    with pytest.raises(Unsolvable):  # it was asked for when the folder was made
        forge.update("p", cuda="12.9")

    path = forge.settings.envs_folder / NAME / "conda-lock.yml"
    path.write_text(path.read_text().replace('"python": "3.10", ', ""))
    forge.update("p", cuda="12.9")

    assert locked(forge, CU129)["python"] == "3.11.9"
