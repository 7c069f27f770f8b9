"""`Forge`: the order of the main job, what of it is left out, and what is refused before it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workplace import (
    H200,
    NAME,
    FakeWorkplace,
    fake_forge,
    make_environment,
    notes_of,
    workplace_of,
)

from envforge.adapters.prefix_reader import read_state
from envforge.errors import (
    DriverTooOld,
    EnvironmentExists,
    InvalidValue,
    NoMatchingBuild,
    NoSuchEnvironment,
    StaleLock,
    Unreachable,
)
from envforge.forge import Forge
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver, Machine
from envforge.model.prefix import PrefixState

ASKED = {"torch": "2.7.1", "cuda": "12.6", "python": "3.10"}


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


@pytest.fixture
def place(forge: Forge) -> FakeWorkplace:
    return workplace_of(forge)


def test_create_locks_installs_and_verifies(forge: Forge, place: FakeWorkplace) -> None:
    result = forge.create("p", **ASKED)

    assert place.reporter.steps == [  # type: ignore[attr-defined]
        "solving linux-64",
        "linking 3 packages",
        f"verifying {NAME}",
    ]
    assert result.name == NAME
    assert result.lock.outcome == "written"
    assert result.install is not None
    assert read_state(result.install.prefix) is PrefixState.INSTALLED
    assert result.report is not None
    assert result.report.passed
    assert result.planned is None
    assert sorted(path.name for path in result.lock.folder.iterdir()) == [
        "conda-lock.yml",
        "environment.yml",
        "virtual-packages.yml",
    ]


def test_create_again_solves_nothing_and_changes_nothing(
    forge: Forge, place: FakeWorkplace
) -> None:
    forge.create("p", **ASKED)
    place.conda.asked.clear()
    place.linker.linked.clear()
    again = forge.create("p", **ASKED)

    assert again.lock.outcome == "unchanged"
    assert again.install is not None
    assert again.install.plan.is_empty
    assert place.conda.asked == []
    assert place.linker.linked == []
    assert f"`{again.lock.folder}` is locked already, and current" in notes_of(forge)


def test_an_interrupted_create_goes_on_where_it_stopped(forge: Forge, place: FakeWorkplace) -> None:
    """The lock is there, the prefix is marked incomplete, and the same command finishes it."""
    place.linker.fails = Unreachable(url="https://x", reason="gone")
    with pytest.raises(Unreachable):
        forge.create("p", **ASKED)
    [info] = forge.environments()
    assert info.state is PrefixState.INCOMPLETE
    assert not info.up_to_date

    place.linker.fails = None
    place.conda.asked.clear()
    result = forge.create("p", **ASKED)

    assert place.conda.asked == []
    assert result.lock.outcome == "unchanged"
    assert forge.environments()[0].up_to_date


def test_create_installs_an_edited_environment_anew(forge: Forge) -> None:
    """The folder is the person's: what was edited is locked again, not refused."""
    path = forge.create("p", **ASKED).lock.folder / "environment.yml"
    path.write_text(f"{path.read_text().rstrip()}\n  - numpy\n")
    result = forge.create("p", **ASKED)

    assert result.lock.outcome == "written"
    assert result.install is not None
    assert [item.name for item in result.install.plan.add] == ["numpy"]
    assert "environment.yml was edited since it was locked: locking again" in notes_of(forge)
    assert any(note.endswith("differs from its lock; this changes:") for note in notes_of(forge))
    assert "  + numpy 2.2.6 h0_0" in notes_of(forge)


def test_another_request_of_the_same_name_is_refused_unless_forced(forge: Forge) -> None:
    folder = forge.create("p", **ASKED).lock.folder
    before = (folder / "conda-lock.yml").read_bytes()
    with pytest.raises(EnvironmentExists) as caught:
        forge.create("p", **ASKED, packages=("numpy<2",))
    assert caught.value.differences == ("packages: none, now numpy<2",)
    assert (folder / "conda-lock.yml").read_bytes() == before

    forced = forge.create("p", **ASKED, packages=("numpy<2",), force=True)
    assert forced.lock.outcome == "written"
    assert forced.lock.lock.find("numpy", "linux-64") is not None


def test_a_dry_run_writes_nothing(forge: Forge, tmp_path: Path) -> None:
    result = forge.create("p", **ASKED, dry_run=True)

    assert result.lock.outcome == "planned"
    assert result.planned is not None
    assert result.planned.state is PrefixState.ABSENT
    assert [item.name for item in result.planned.plan.add] == ["cuda-version", "python", "pytorch"]
    assert result.install is None
    assert result.report is None
    assert not (tmp_path / "envs").exists()
    assert not (tmp_path / "prefixes").exists()


def test_a_prefix_that_was_given_is_found_again_by_name(forge: Forge, tmp_path: Path) -> None:
    created = forge.create("p", **ASKED, prefix=tmp_path / "elsewhere")

    assert created.install is not None
    assert created.install.prefix == tmp_path / "elsewhere"
    assert forge.show("p").prefix == tmp_path / "elsewhere"
    assert forge.install(NAME).plan.is_empty


@pytest.mark.parametrize(
    ("project", "asked", "error"),
    [
        ("../x", ASKED, InvalidValue),
        ("", ASKED, InvalidValue),
        ("p", {**ASKED, "cuda": "12"}, InvalidValue),
        ("p", {**ASKED, "torch": "2"}, InvalidValue),
        ("p", {**ASKED, "source": "pypi"}, InvalidValue),
        ("p", {**ASKED, "platforms": ("linux-32",)}, InvalidValue),
        ("p", {**ASKED, "platforms": ("win-64",)}, InvalidValue),
        ("p", {**ASKED, "cuda": "10.2"}, NoMatchingBuild),
        ("p", {**ASKED, "python": "3.14"}, NoMatchingBuild),
        ("p", {**ASKED, "driver": "450.80.02"}, DriverTooOld),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_solved(
    project: str, asked: dict[str, object], error: type[Exception], tmp_path: Path
) -> None:
    forge = fake_forge(tmp_path)
    with pytest.raises(error):
        forge.create(project, **asked)  # type: ignore[arg-type]

    assert workplace_of(forge).conda.asked == []
    assert not (tmp_path / "envs").exists()


def test_a_platform_that_is_not_this_one_can_be_locked_only(forge: Forge) -> None:
    with pytest.raises(InvalidValue) as caught:
        forge.create("p", torch="2.7.1", cuda="12.6", platforms=("linux-aarch64",))

    assert "`envforge lock`" in str(caught.value.hint)


def test_everything_may_be_left_to_the_machine(tmp_path: Path) -> None:
    """Without a CUDA, the newest that driver and GPU run."""
    forge = fake_forge(tmp_path, machine=H200)
    result = forge.lock("p", torch="2.7", python="3.10", source="conda-forge")

    assert result.choice is not None
    assert result.choice.torch == "2.7.1"
    assert result.choice.cuda == CudaVersion(12, 9)


def test_this_machine_binds_create_and_only_warns_lock(tmp_path: Path) -> None:
    """A laptop may lock for a server; nobody should create what cannot run."""
    old = Machine(driver=Driver(version="450.80.02", cuda=CudaVersion(11, 0)))
    forge = fake_forge(tmp_path, machine=old)
    with pytest.raises(DriverTooOld):
        forge.create("p", **ASKED)
    locked = forge.lock("p", **ASKED)
    warnings = workplace_of(forge).reporter.warnings  # type: ignore[attr-defined]

    assert locked.outcome == "written"
    assert any("450.80.02" in warning for warning in warnings)
    warnings.clear()
    assert forge.create("p", **ASKED, force=True).report is not None
    assert any("450.80.02" in warning for warning in warnings)


def test_lock_of_a_name_solves_an_edited_environment_again(forge: Forge) -> None:
    path = make_environment(forge) / "environment.yml"
    path.write_text(f"{path.read_text().rstrip()}\n  - numpy<2  # mine\n")
    result = forge.lock("p")

    assert result.outcome == "written"
    assert result.choice is None
    assert "- numpy=1.26.4  # asked: <2; mine\n" in path.read_text()
    assert forge.lock("p").outcome == "unchanged"


def test_options_of_a_request_without_one_are_refused(forge: Forge) -> None:
    """They would be lost without a word."""
    make_environment(forge)
    for option, given in (
        ("--with", {"packages": ("numpy",)}),
        ("--python", {"python": "3.11"}),
        ("--wheel-index", {"wheel_index": "site"}),
        ("--driver", {"driver": "535.104.05"}),
        ("--gpu", {"gpus": ("H200",)}),
    ):
        with pytest.raises(InvalidValue, match=f"option `{option}` needs `--torch` or `--cuda`"):
            forge.lock("p", **given)  # type: ignore[arg-type]
    assert forge.lock("p", source="auto", packages=(), python=None).outcome == "unchanged"


def test_add_locks_again_and_installs_what_is_new(forge: Forge) -> None:
    forge.create("p", **ASKED, packages=("numpy<2",))
    locked, installed = forge.add("p", ["scikit-learn"])

    assert locked.lock.find("numpy", "linux-64").version == "1.26.4"  # type: ignore[union-attr]
    assert installed is not None
    assert [item.name for item in installed.plan.add] == ["scikit-learn"]
    assert "- scikit-learn=1.5.0  # asked: any" in (locked.folder / "environment.yml").read_text()


def test_add_can_stop_early(forge: Forge) -> None:
    folder = make_environment(forge)
    before = (folder / "environment.yml").read_text()

    locked, installed = forge.add("p", ["numpy"], dry_run=True)
    assert (locked.outcome, installed) == ("planned", None)
    assert (folder / "environment.yml").read_text() == before
    locked, installed = forge.add("p", ["numpy"], install=False)
    assert (locked.outcome, installed) == ("written", None)
    assert not forge.settings.prefixes.exists()


def test_install_and_its_plan(forge: Forge) -> None:
    make_environment(forge)
    planned = forge.plan_install("p")

    assert planned.prefix == forge.settings.prefixes / NAME
    assert not planned.prefix.exists()
    assert forge.install("p", locked=True).plan == planned.plan
    assert forge.plan_install("p").plan.is_empty


def test_a_stale_lock_is_solved_again_unless_that_is_ruled_out(forge: Forge) -> None:
    folder = make_environment(forge)
    path = folder / "environment.yml"
    path.write_text(f"{path.read_text().rstrip()}\n  - numpy\n")
    for refuse in (
        lambda: forge.install("p", locked=True),
        lambda: forge.plan_install("p"),
        lambda: forge.plan_install("p", locked=True),
    ):
        with pytest.raises(StaleLock, match="`numpy` is not in the lock") as caught:
            refuse()
        assert caught.value.hint == f"`envforge lock {NAME}`, and commit the result"

    assert "numpy" in [item.name for item in forge.install("p").plan.add]
    assert any("locking again" in note for note in notes_of(forge))


def test_verify_all_that_are_installed(forge: Forge) -> None:
    with pytest.raises(NoSuchEnvironment, match=r"no environment of `.*envs` is installed"):
        forge.verify()
    forge.create("p", **ASKED)
    make_environment(forge, "q")

    assert [report.subject for report in forge.verify(level="static")] == [NAME]
    assert [report.subject for report in forge.verify("q", level="static")] == ["q-torch27-cu126"]
    assert not forge.verify("q", level="static")[0].passed


def test_what_is_known_without_an_environment(forge: Forge) -> None:
    assert forge.names() == ()
    assert forge.environments() == ()
    assert "base" in [item.name for item in forge.templates()]
    assert forge.template("nlp").name == "nlp"
    assert "driver-too-old" in forge.checks()
    assert forge.probe.look() == Machine()
    assert forge.platform == "linux-64"


def test_remove_takes_the_prefix_and_leaves_the_lock(forge: Forge) -> None:
    installed = forge.create("p", **ASKED)
    assert installed.install is not None
    prefix, folder = installed.install.prefix, installed.lock.folder

    assert forge.plan_removal("p") == (prefix,)
    assert forge.plan_removal("p", folder=True) == (prefix, folder)
    forge.remove("p")
    assert not prefix.exists()
    assert forge.plan_removal("p") == ()
    forge.remove("p", folder=True)
    assert not folder.exists()
