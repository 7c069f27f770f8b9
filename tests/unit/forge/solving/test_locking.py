"""Locking: what a folder is made from, what is kept, and what is tried when nothing solves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.workplace import (
    NAME,
    FakeWorkplace,
    WheelShelf,
    fake_forge,
    make_environment,
    notes_of,
    workplace_of,
)

from envforge.adapters.pip_settings import PipSettings
from envforge.errors import (
    EnvironmentExists,
    InvalidFile,
    InvalidValue,
    NoMatchingBuild,
    Unreachable,
    Unsolvable,
)
from envforge.forge import Forge, folders
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import LockedPackage
from envforge.model.results import LockResult
from envforge.model.solving import Channel, WheelProblem
from envforge.solve import record

REQUEST: dict[str, Any] = {"torch": "2.7.1", "cuda": "12.6", "python": "3.10"}
WHEELS: dict[str, Any] = {"torch": "2.7.1", "cuda": "cpu", "source": "wheels", "python": "3.10"}


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


@pytest.fixture
def place(forge: Forge) -> FakeWorkplace:
    return workplace_of(forge)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "environment.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


# --- a new folder ---------------------------------------------------------------------------


def test_the_folder_says_what_it_is(forge: Forge) -> None:
    result = forge.lock("p", **REQUEST)
    found = texts(result.folder)

    assert found == dict(result.files)
    assert found["environment.yml"].startswith(
        f"# {NAME}: edit this file, then run `envforge lock {NAME}`.\nname: {NAME}\n"
    )
    assert "__cuda: 12.6" in found["virtual-packages.yml"].replace("'", "")
    lock = conda_lock_yml.read(found["conda-lock.yml"], "conda-lock.yml")
    assert lock == result.lock
    assert json.loads(lock.metadata[record.KEY])["torch"] == "2.7.1"


def test_another_python_is_tried_and_told(forge: Forge) -> None:
    """The channel has Python 3.10 alone; nobody asked for a newer one."""
    result = forge.lock("p", torch="2.7.1", cuda="12.6")

    assert result.notes[-1] == "python 3.10: with 3.13 nothing fits together"
    assert set(result.notes) <= set(notes_of(forge))


def test_cuda_libraries_of_a_later_minor_are_taken_where_those_asked_for_are_gone(
    tmp_path: Path,
) -> None:
    """For a fresh folder only: in an edited one the pin is a person's word."""
    forge = fake_forge(tmp_path)
    place = workplace_of(forge)
    gone = ("cuda-version", "12.6")
    place.conda.packages = [
        item for item in place.conda.packages if (item.name, item.version) != gone
    ]
    result = forge.lock("p", **REQUEST)

    assert "both run on the same drivers" in result.notes[-1]
    assert "cuda-version=12.9  # asked: >=12.6,<13" in result.files["environment.yml"]
    edit(result.folder, "cuda-version=12.9  # asked: >=12.6,<13", "cuda-version=12.6")
    with pytest.raises(Unsolvable, match="cuda-version"):
        forge.lock("p")


def test_a_moment_reaches_the_solver_and_belongs_to_the_request(
    forge: Forge, place: FakeWorkplace
) -> None:
    result = forge.lock("p", **REQUEST, exclude_newer="2024-03-01")
    moment = "2024-03-01T23:59:59Z"

    assert {problem.exclude_newer for problem in place.conda.asked} == {moment}
    assert result.lock.metadata[record.EXCLUDE_NEWER] == moment
    assert forge.lock("p", **REQUEST, exclude_newer="2024-03-01").outcome == "unchanged"
    assert forge.lock("p", **REQUEST).outcome == "unchanged"
    with pytest.raises(EnvironmentExists, match=f"exclude_newer: {moment}, now 2025-"):
        forge.lock("p", **REQUEST, exclude_newer="2025-03-01")
    edit(result.folder, "  - cuda-version", "  - numpy\n  - cuda-version")
    place.conda.asked.clear()
    assert forge.lock("p", **REQUEST, exclude_newer="2024-03-01").outcome == "written"
    assert {problem.exclude_newer for problem in place.conda.asked} == {moment}


def test_a_moment_when_an_edited_file_is_locked(forge: Forge, place: FakeWorkplace) -> None:
    """The next solve knows nothing of it any more; conda-lock never does."""
    forge.lock("p", **REQUEST)
    place.conda.asked.clear()
    result = forge.lock(NAME, exclude_newer="2024-03-01T00:00:00Z")

    assert {problem.exclude_newer for problem in place.conda.asked} == {"2024-03-01T00:00:00Z"}
    assert record.EXCLUDE_NEWER in result.lock.metadata
    assert record.EXCLUDE_NEWER not in forge.lock(NAME).lock.metadata
    with pytest.raises(InvalidValue, match="engine `conda-lock` cannot leave out"):
        forge.lock(NAME, exclude_newer="2024-03-01", engine="conda-lock")
    with pytest.raises(InvalidValue, match="`soon` is no date"):
        forge.lock(NAME, exclude_newer="soon")


def test_what_is_offered_instead_keeps_the_moment(forge: Forge, place: FakeWorkplace) -> None:
    with pytest.raises(Unsolvable) as caught:
        forge.lock("p", **{**REQUEST, "python": "3.11"}, exclude_newer="2024-03-01")

    assert caught.value.nearest
    assert all("--exclude-newer 2024-03-01T23:59:59Z" in item for item in caught.value.nearest)


def test_an_empty_folder_is_no_environment_yet(forge: Forge) -> None:
    (forge.settings.envs_folder / NAME).mkdir(parents=True)

    assert forge.lock("p", **REQUEST).outcome == "written"


def test_a_folder_that_we_did_not_make_is_left_alone(forge: Forge) -> None:
    """Without a lock, or with one that no request stands behind."""
    folder = make_environment(forge)
    lock = (folder / "conda-lock.yml").read_text()
    (folder / "conda-lock.yml").unlink()
    with pytest.raises(EnvironmentExists, match=f"`envforge lock {NAME}` locks it"):
        forge.lock("p", **REQUEST)
    (folder / "conda-lock.yml").write_text(lock.replace(record.KEY, "envforge.other"))
    with pytest.raises(EnvironmentExists, match="it was not made by `create`"):
        forge.lock("p", **REQUEST)


def test_a_file_where_the_folder_belongs(forge: Forge) -> None:
    forge.settings.envs_folder.mkdir()
    (forge.settings.envs_folder / NAME).write_text("mine")

    with pytest.raises(InvalidFile, match="a file is where the environment's folder"):
        forge.lock("p", **REQUEST)


# --- what else goes in ----------------------------------------------------------------------


def test_a_template_brings_its_packages_and_variables(tmp_path: Path) -> None:
    names = ("transformers", "accelerate", "sentencepiece", "protobuf", "fastapi", "uvicorn")
    forge = fake_forge(tmp_path, packages=[package(name, "4.60.0") for name in names])
    result = forge.lock("p", **REQUEST, template="llm-serve")

    assert {item.name for item in result.lock.packages} >= set(names)
    assert json.loads(result.lock.metadata[folders.VARIABLES]) == {
        "TOKENIZERS_PARALLELISM": "false"
    }
    assert "TOKENIZERS_PARALLELISM" in result.files["environment.yml"]
    assert json.loads(result.lock.metadata[record.KEY])["template"] == "llm-serve"


def test_what_a_template_has_to_leave_out_is_said(tmp_path: Path) -> None:
    """Packages that are for CUDA builds alone stay out of a CPU environment."""
    channel = Everything()
    forge = fake_forge(tmp_path)
    workplace_of(forge).solver = channel  # type: ignore[assignment, misc]
    forge.lock("p", torch="2.7.1", cuda="cpu", python="3.10", template="llm-train")

    [note] = [note for note in notes_of(forge) if note.startswith("template llm-train: without ")]
    assert note.endswith("which torch 2.7.1 or a platform does not have")
    left_out = note.removeprefix("template llm-train: without ").partition(",")[0]
    assert left_out not in channel.names


class Everything:
    """A `ports.CondaSolver` that has whatever it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def solve(self, problems: Any) -> Any:
        from envforge.model.solving import CondaSolution

        [problem] = problems
        self.names = {item.name for item in problem.dependencies}
        builds = {"pytorch": ("2.7.1", "cpu_generic_py310_0"), "python": ("3.10.14", "h0_0")}
        found = [package(name, *builds.get(name, ("1.0", "h0_0"))) for name in sorted(self.names)]
        return (CondaSolution(platform=problem.platform, packages=tuple(found)),)


def test_an_unknown_template_is_refused_before_anything_is_solved(
    forge: Forge, place: FakeWorkplace
) -> None:
    with pytest.raises(InvalidValue, match="template `npl` does not exist") as caught:
        forge.lock("p", **REQUEST, template="npl")

    assert caught.value.hint == "did you mean `nlp`?"
    assert place.conda.asked == []


def test_credentials_of_a_channel_are_used_and_not_kept(forge: Forge, place: FakeWorkplace) -> None:
    result = forge.lock("p", **REQUEST, channels=("https://me:secret@conda.example/lab",))

    assert place.conda.asked[0].channels[0] == Channel(
        name="https://conda.example/lab",
        url="https://conda.example/lab",
        mirror="https://me:secret@conda.example/lab",
    )
    assert not any("secret" in text for text in result.files.values())


# --- wheels and the interpreter of this machine ---------------------------------------------


def test_wheels_come_from_the_index_that_was_chosen_and_said(
    forge: Forge, place: FakeWorkplace
) -> None:
    result = forge.lock("p", **WHEELS)
    [problem] = place.shelf.asked
    target = result.lock.target

    assert problem.torch_index == "https://download.pytorch.org/whl/cpu"
    assert problem.torch_requirements == ("torch==2.7.1",)
    assert target is not None
    assert target.wheel_index == "pytorch"
    assert "torch's wheels come from https://download.pytorch.org/whl/cpu (`pytorch`)" in notes_of(
        forge
    )


@pytest.mark.parametrize(
    ("pip", "index"),
    [
        (PipSettings(), "pytorch"),
        (PipSettings(index_url="https://mirror.example/simple"), "pytorch"),
        (PipSettings(find_links=("/srv/wheels",)), "site"),
        (PipSettings(extra_index_urls=("https://lab.example/simple",)), "site"),
        (PipSettings(no_index=True), "site"),
    ],
)
def test_the_index_is_the_sites_own_where_it_has_one(
    forge: Forge, place: FakeWorkplace, pip: PipSettings, index: str
) -> None:
    """A lone mirror of the registry holds one CUDA for each torch; it is decided and recorded."""
    place.pip = pip
    lock = forge.lock("p", **WHEELS).lock

    assert lock.target is not None
    assert lock.target.wheel_index == index
    assert json.loads(lock.metadata[record.KEY])["wheel_index"] == index
    assert forge.lock("p", **WHEELS).outcome == "unchanged"


def test_a_relock_stays_with_the_index_that_was_recorded(
    forge: Forge, place: FakeWorkplace
) -> None:
    folder = forge.lock("p", **WHEELS, wheel_index="site").folder
    place.shelf.asked.clear()
    assert (
        "torch's wheels come from what pip on this machine is configured with (`site`)"
        in notes_of(forge)
    )
    edit(folder, "- pip:\n", "- pip:\n      - einops\n")
    target = forge.lock("p").lock.target

    assert place.shelf.asked[0].torch_index is None
    assert target is not None
    assert target.wheel_index == "site"


def test_the_interpreter_of_this_machine_is_a_channel(forge: Forge, place: FakeWorkplace) -> None:
    """The lock says that it is this machine's, and what C library it needs."""
    request = {"torch": "2.7.1", "cuda": "cpu", "source": "wheels", "python": "host"}
    result = forge.lock("p", **request)
    [problem] = place.conda.asked

    host = Channel(name="host-python", url=place.settings.cache.as_uri())
    assert problem.channels == (host,)
    assert problem.dependencies[0].version == "=3.10.14"
    assert ("__glibc", "2.36") in {(v.name, v.version) for v in problem.virtual_packages}
    assert result.lock.target is not None
    assert result.lock.target.machine_local

    edit(result.folder, "- pip:\n", "- pip:\n      - einops\n")
    again = forge.lock("p")
    assert place.conda.asked[-1].channels == (host,)
    assert again.lock.target is not None
    assert again.lock.target.machine_local


def test_add_gives_a_package_the_name_of_its_wheel(forge: Forge, place: FakeWorkplace) -> None:
    forge.lock("p", **WHEELS)
    locked, _ = forge.add("p", ["einops"], install=False)

    assert locked.lock.find("einops", "linux-64").manager == "pip"  # type: ignore[union-attr]
    kept = {f"{item.name}=={item.version}" for item in place.shelf.asked[-1].preferred}
    assert "torch==2.7.1+cpu" in kept


# --- an edited folder -----------------------------------------------------------------------


def test_a_renamed_folder_contradicts_its_file(forge: Forge) -> None:
    folder = make_environment(forge)
    folder.rename(folder.with_name("other-torch27-cu126"))
    with pytest.raises(InvalidFile) as caught:
        forge.lock("other-torch27-cu126")

    assert str(caught.value).endswith(f"name: `{NAME}`, but the folder is `other-torch27-cu126`")
    assert "rename one of them" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("pytorch=2.7.1", "pytorch=9.9.9", NoMatchingBuild, "9.9.9"),
        ("python=3.10.14", "python=3.6.15", NoMatchingBuild, "3.6"),
        ("  - pytorch=2.7.1=*cuda126*\n", "", InvalidFile, "is not among them"),
        ("pytorch=2.7.1=*cuda126*", "pytorch", InvalidFile, "torch is not pinned"),
        ("pytorch=2.7.1=*cuda126*", "pytorch>=2.0", InvalidFile, "torch is not pinned"),
    ],
)
def test_an_edit_that_breaks_the_claim(
    forge: Forge, old: str, new: str, error: type[Exception], said: str
) -> None:
    folder = make_environment(forge)
    edit(folder, old, new)
    before = texts(folder)
    with pytest.raises(error, match=said):
        forge.lock("p")

    assert texts(folder) == before


def test_a_lock_that_the_name_does_not_tell_is_not_written(tmp_path: Path) -> None:
    """torch was edited to another minor, which exists and solves; the name claims the old one."""
    newer = package(
        "pytorch", "2.6.0", "cuda126_generic_py310_0", depends=("cuda-version >=12.6,<13", "__cuda")
    )
    forge = fake_forge(tmp_path, packages=[newer])
    folder = make_environment(forge)
    edit(folder, "pytorch=2.7.1=*cuda126*", "pytorch=2.6.0=*cuda126*")
    before = texts(folder)
    with pytest.raises(InvalidFile, match=r"the name claims torch 2\.7, locked is 2\.6\.0"):
        forge.lock("p")

    assert texts(folder) == before


def test_virtual_packages_that_were_edited_stay(forge: Forge) -> None:
    """A platform that was added is described like a new one."""
    folder = make_environment(forge)
    path = folder / "virtual-packages.yml"
    path.write_text(path.read_text().replace("2.28", "2.34"))
    assert forge.show("p").stale
    forge.lock("p")

    assert "2.34" in path.read_text()
    assert not forge.show("p").stale


def test_what_is_not_ours_in_the_metadata_is_kept(forge: Forge) -> None:
    """And activation variables follow environment.yml."""
    folder = make_environment(forge)
    edit(folder, "dependencies:", "variables:\n  A: b\ndependencies:")
    first = forge.lock("p")
    assert json.loads(first.lock.metadata[folders.VARIABLES]) == {"A": "b"}
    edit(folder, "variables:\n  A: b\n", "")
    second = forge.lock("p")

    assert folders.VARIABLES not in second.lock.metadata
    assert second.lock.metadata[record.KEY] == first.lock.metadata[record.KEY]


def test_a_folder_without_environment_yml_cannot_be_locked(forge: Forge) -> None:
    folder = make_environment(forge)
    (folder / "environment.yml").unlink()

    with pytest.raises(InvalidFile, match="it does not exist"):
        forge.lock("p")


def test_a_folder_of_which_only_environment_yml_is_there(forge: Forge) -> None:
    """As somebody writes it by hand; the virtual packages are described anew."""
    folder = make_environment(forge)
    before = texts(folder)
    (folder / "conda-lock.yml").unlink()
    (folder / "virtual-packages.yml").unlink()
    assert forge.show("p").lock is None
    result = forge.lock("p")

    assert result.outcome == "written"
    assert texts(folder)["virtual-packages.yml"] == before["virtual-packages.yml"]


def test_the_same_twice_is_the_same_bytes(tmp_path: Path) -> None:
    """Whoever's home, and wherever the folder is."""
    first = fake_forge(tmp_path / "a").lock("p", **REQUEST)
    second = fake_forge(tmp_path / "b", environment={"HOME": "/x", "TZ": "Asia/Tokyo"}).lock(
        "p", **REQUEST
    )

    assert first.files == second.files


# --- nothing solves -------------------------------------------------------------------------


def test_the_nearest_that_does_solve_is_found_by_trying(
    forge: Forge, place: FakeWorkplace, tmp_path: Path
) -> None:
    with pytest.raises(Unsolvable) as caught:
        forge.lock("p", **REQUEST, packages=("numpy=9",))

    assert caught.value.nearest[0] == (
        "envforge lock p --torch 2.7.1 --cuda 12.6 --python 3.10 --with numpy"
    )
    assert "tried, and does solve:" in str(caught.value.hint)
    assert not (tmp_path / "envs").exists()
    steps = place.reporter.steps  # type: ignore[attr-defined]
    assert steps[-1] == "looking for the nearest combination that does solve"
    assert steps == [*["solving linux-64"] * 2, steps[-1]]  # trying others is silent


def test_commands_are_for_what_was_called(forge: Forge) -> None:
    with pytest.raises(Unsolvable) as caught:
        forge.create("p", **REQUEST, packages=("numpy=9",))

    assert caught.value.nearest[0].startswith("envforge create p ")


def test_a_misspelt_package_is_left_out_first(forge: Forge) -> None:
    with pytest.raises(Unsolvable) as caught:
        forge.lock("p", **REQUEST, packages=("nunpy",))

    assert caught.value.spellings == {"nunpy": ()}
    assert caught.value.nearest == ("envforge lock p --torch 2.7.1 --cuda 12.6 --python 3.10",)


def test_a_source_that_is_out_of_reach_is_waited_for_once(
    forge: Forge, place: FakeWorkplace
) -> None:
    """The index goes down after its first answer; other requests of that source are not tried."""
    place.shelf = place.wheels = FailingShelf()  # type: ignore[misc]
    with pytest.raises(Unsolvable, match="nothing fits") as caught:
        forge.lock("p", **WHEELS, packages=("einops=9",))

    assert caught.value.nearest == ()
    assert len(place.shelf.asked) == 2


class FailingShelf(WheelShelf):
    """Says no, and then nothing any more."""

    def resolve(self, problem: WheelProblem) -> tuple[LockedPackage, ...]:
        self.asked.append(problem)
        if len(self.asked) == 1:
            raise Unsolvable(platform=problem.platform, explanation="nothing fits")
        raise Unreachable(url="https://download.pytorch.org/whl/cpu", reason="gone")


def test_what_does_not_solve_either_is_not_suggested(forge: Forge, place: FakeWorkplace) -> None:
    place.conda.packages = [item for item in place.conda.packages if item.name != "cuda-version"]
    with pytest.raises(Unsolvable) as caught:
        forge.lock("p", **REQUEST, packages=("numpy<2",))

    assert caught.value.nearest == ()
    assert len({problem.dependencies for problem in place.conda.asked}) > 3  # others were tried


def test_a_lock_that_cannot_be_read_is_written_anew(forge: Forge, place: FakeWorkplace) -> None:
    """`lock` makes it from environment.yml; what else would it be good for?"""
    folder = make_environment(forge)
    good = (folder / "conda-lock.yml").read_text()
    (folder / "conda-lock.yml").write_text("version: 1\n")
    result = forge.lock("p")
    warnings = place.reporter.warnings  # type: ignore[attr-defined]

    assert result.outcome == "written"
    assert warnings[0].endswith("; it is written anew")
    assert conda_lock_yml.read(good, "x").packages == result.lock.packages


def test_a_channel_that_is_down_is_told_as_such(forge: Forge, place: FakeWorkplace) -> None:
    """Nothing nearer is looked for: it is not the request's fault."""
    place.conda.unreachable = "https://conda.anaconda.org/conda-forge"
    with pytest.raises(Unreachable, match="conda-forge"):
        forge.lock("p", **REQUEST)

    assert len(place.conda.asked) == 1


def test_an_edited_folder_gets_no_commands(forge: Forge) -> None:
    """There is no request that they could change."""
    folder = make_environment(forge)
    edit(folder, "cuda-version=12.6", "cuda-version=12.6\n  - numpy=9")
    with pytest.raises(Unsolvable) as caught:
        forge.lock("p")

    assert caught.value.nearest == ()


# --- engines --------------------------------------------------------------------------------


def test_an_engine_that_does_not_exist(forge: Forge) -> None:
    with pytest.raises(InvalidValue, match="engine `mamba` is neither"):
        forge.lock("p", **REQUEST, engine="mamba")


def test_the_other_engine_answers_the_same_questions(
    forge: Forge, place: FakeWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def solver_for(engine: str) -> Any:
        asked.append(engine)
        return place.conda

    monkeypatch.setattr(place, "solver_for", solver_for)
    result = forge.lock("p", **REQUEST, engine="conda-lock")

    assert isinstance(result, LockResult)
    assert asked == ["conda-lock"]
    replaced: tuple[LockedPackage, ...] = tuple(replace(p) for p in result.lock.packages)
    assert replaced == result.lock.packages
