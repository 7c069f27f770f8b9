"""Facts are gathered for the environment that was named, and judged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.facts import locked
from fakes.prefix_on_disk import forge_prefix
from fakes.workplace import (
    NAME,
    FakeWorkplace,
    conda_forge,
    fake_forge,
    make_environment,
    workplace_of,
)

from envforge.adapters.environments import Environments
from envforge.errors import EnvforgeError, InvalidFile, InvalidValue, StaleLock
from envforge.forge import Forge
from envforge.model.finding import Report


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """With one installed environment."""
    forge = fake_forge(tmp_path)
    make_environment(forge)
    forge.install("p")
    return forge


@pytest.fixture
def place(forge: Forge) -> FakeWorkplace:
    return workplace_of(forge)


def verified(forge: Forge, env: str = "p", **how: Any) -> Report:
    [report] = forge.verify(env, **how)
    return report


def failed(report: Report) -> list[str]:
    return [item.check for item in report.findings if item.severity == "error"]


def reasons(report: Report) -> set[str]:
    return {item.detail for item in report.unproven}


def test_as_deep_as_the_machine_allows(forge: Forge, place: FakeWorkplace) -> None:
    """A CUDA build without a GPU is imported; a CPU build is tried."""
    report = verified(forge)
    assert (report.subject, report.level, report.passed) == (NAME, "import", True)
    [command] = place.interpreter.commands
    assert command[0] == str(forge.settings.prefixes / NAME / "bin" / "python")

    cpu = forge.lock("q", torch="2.7.1", cuda="cpu", python="3.10").name
    forge.install(cpu)
    place.interpreter.cuda = None
    assert verified(forge, cpu).level == "live"
    assert verified(forge, cpu).passed


def test_static_starts_no_interpreter(forge: Forge, place: FakeWorkplace) -> None:
    report = verified(forge, level="static")

    assert report.passed
    assert place.interpreter.commands == []
    assert "needs `--level import`" in reasons(report)


def test_a_torch_that_cannot_be_imported_fails(forge: Forge, place: FakeWorkplace) -> None:
    error = {"type": "ImportError", "message": "libcudart.so.12: cannot open shared object file"}
    place.interpreter.document = {"torch": {"ended": "error", "stage": "import", "error": error}}
    report = verified(forge)

    assert not report.passed
    assert any("libcudart.so.12" in f"{item.message} {item.seen}" for item in report.findings)


def test_what_is_not_installed_fails(forge: Forge) -> None:
    make_environment(forge, "q")
    report = verified(forge, "q")

    assert not report.passed
    assert any(reason.startswith("there is no interpreter in ") for reason in reasons(report))


def test_without_a_lock_there_is_no_claim(forge: Forge) -> None:
    (forge.settings.envs_folder / NAME / "conda-lock.yml").unlink()

    with pytest.raises(StaleLock, match="no claim to check"):
        verified(forge, level="static")


def test_one_that_cannot_be_judged_is_a_problem_and_the_others_go_on(forge: Forge) -> None:
    make_environment(forge, "q")
    forge.install("q")
    (forge.settings.envs_folder / NAME / "conda-lock.yml").write_text("version: 6\n")

    broken, whole = forge.verify(level="static", require_gpu=False)

    assert not broken.passed
    [unseen] = broken.unseen
    assert unseen.what == "environment"
    assert "conda-lock.yml" in unseen.reason
    assert unseen.remedy
    assert whole.passed


def test_a_check_that_does_not_exist_is_told_before_anything_is_looked_at(forge: Forge) -> None:
    with pytest.raises(InvalidValue, match="nosuch"):
        forge.verify("no-such-environment", only=("nosuch",))


def test_a_lock_alone_is_verified_too(forge: Forge) -> None:
    (forge.settings.envs_folder / NAME / "environment.yml").unlink()

    assert verified(forge, level="static").passed


def test_a_gpu_can_be_required(forge: Forge) -> None:
    report = verified(forge, require_gpu=True)

    assert not report.passed
    assert report.require_gpu


def test_a_prefix_that_is_given_is_the_one_looked_at(forge: Forge, tmp_path: Path) -> None:
    """Without one, the last that was made from the folder."""
    forge.install("p", prefix=tmp_path / "second")
    usual = forge.settings.prefixes / NAME

    assert verified(forge, level="static").prefix == str(tmp_path / "second")
    assert verified(forge, level="static", prefix=usual).prefix == str(usual)


def test_checks_can_be_chosen(forge: Forge) -> None:
    report = verified(forge, level="static", only=("driver-too-old",))
    assert [item.check for item in report.outcomes] == ["driver-too-old"]
    less = verified(forge, level="static", skip=("driver-too-old",))
    assert "driver-too-old" not in {item.check for item in less.outcomes}
    with pytest.raises(InvalidValue, match="drivr-too-old"):
        forge.verify("p", only=("drivr-too-old",))


def test_all_that_are_installed(forge: Forge) -> None:
    make_environment(forge, "q")
    assert [report.subject for report in forge.verify(level="static")] == [NAME]
    forge.install("q")

    assert [report.subject for report in forge.verify(level="static")] == [NAME, "q-torch27-cu126"]


# --- other subjects -------------------------------------------------------------------------


def by(forge: Forge, **named: Any) -> Report:
    [report] = forge.verify(**{"level": "static", **named})
    return report


def checks_of(report: Report) -> set[str]:
    return {item.check for item in report.outcomes}


def test_a_prefix_of_ours_finds_its_own_lock(forge: Forge) -> None:
    """By the marker that the install left."""
    report = by(forge, prefix=forge.settings.prefixes / NAME)

    assert (report.subject, report.kind, report.passed) == (NAME, "environment", True)
    assert "lock-drift" in checks_of(report)


def test_commands_lead_to_where_the_folder_is(tmp_path: Path) -> None:
    """Its name is enough in the usual place only."""
    forge = fake_forge(tmp_path)
    folder = make_environment(forge)
    forge.install("p")
    place = workplace_of(forge)
    [record] = (forge.settings.prefixes / NAME / "conda-meta").glob("cuda-version-*.json")
    record.unlink()
    here = [item.remedy for item in verified(forge, level="static").findings]
    place.environments = Environments(tmp_path / "elsewhere")
    there = [item.remedy for item in verified(forge, str(folder), level="static").findings]

    assert f"envforge install {NAME}" in here
    assert f"envforge install {folder}" in there


def test_a_prefix_whose_folder_is_gone(forge: Forge) -> None:
    """It is looked at all the same, and what it cannot be compared with is said."""
    shutil.rmtree(forge.settings.envs_folder / NAME)
    report = by(forge, prefix=forge.settings.prefixes / NAME)

    assert report.kind == "prefix"
    assert report.passed
    [outcome] = [item for item in report.unproven if item.check == "lock-drift"]
    assert "has no lock now" in outcome.detail


def test_a_prefix_of_somebody_else(forge: Forge, tmp_path: Path) -> None:
    """Nothing is said of locks."""
    packages = (locked("numpy", "1.26.4"), locked("python", "3.10.14"))
    foreign = forge_prefix(tmp_path / "foreign", packages)
    report = by(forge, prefix=foreign)

    assert (report.subject, report.kind, report.passed) == (str(foreign), "prefix", True)
    assert "lock-drift" not in checks_of(report)


def test_a_prefix_against_a_lock_that_was_given(forge: Forge, tmp_path: Path) -> None:
    foreign = forge_prefix(tmp_path / "foreign", (locked("python", "3.10.14"),))
    lock = forge.settings.envs_folder / NAME / "conda-lock.yml"
    report = by(forge, prefix=foreign, lock=lock)

    assert report.kind == "prefix"
    assert "lock-drift" in failed(report)


def test_an_interpreter(forge: Forge, place: FakeWorkplace, tmp_path: Path) -> None:
    foreign = forge_prefix(tmp_path / "foreign", (locked("python", "3.10.14"),))
    program = foreign / "bin" / "python"
    program.chmod(0o755)
    report = by(forge, python=str(program), level="import")

    assert (report.subject, report.kind) == (str(program), "interpreter")
    assert report.prefix == str(foreign)
    assert place.interpreter.commands[-1][0] == str(program)


def test_an_interpreter_that_only_tells_when_asked(
    forge: Forge, place: FakeWorkplace, tmp_path: Path
) -> None:
    """A shim: it is asked where its prefix is, and at level static it is not."""
    foreign = forge_prefix(tmp_path / "foreign", (locked("python", "3.10.14"),))
    shim = tmp_path / "shims" / "python"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\n")
    shim.chmod(0o755)
    place.interpreter.document = {"python": {"version": "3.10.14", "prefix": str(foreign)}}
    assert by(forge, python=str(shim), level="import").prefix == str(foreign)
    with pytest.raises(InvalidValue, match="level static starts nothing"):
        by(forge, python=str(shim))

    place.interpreter.document = {"python": {}}
    with pytest.raises(InvalidValue, match="does not work as a Python"):
        by(forge, python=str(shim), level="import")


def test_a_lock_alone(forge: Forge) -> None:
    """Will it run here? Nothing is said of what is installed."""
    path = forge.settings.envs_folder / NAME / "conda-lock.yml"
    report = by(forge, lock=path, level=None)

    assert (report.subject, report.kind, report.level) == (str(path), "lock", "static")
    assert report.passed
    assert "driver-too-old" in checks_of(report)
    assert "prefix-incomplete" not in checks_of(report)
    assert "python-does-not-start" not in checks_of(report)


def test_a_lock_for_a_machine_that_is_described(forge: Forge) -> None:
    path = forge.settings.envs_folder / NAME / "conda-lock.yml"
    assert failed(by(forge, lock=path, driver="470.82.01")) == ["driver-too-old"]
    assert by(forge, lock=path, driver="570.124.06", gpus=("H200",)).passed


def test_a_lock_of_another_tool(forge: Forge, tmp_path: Path) -> None:
    """What it is for is told by its packages."""
    path = forge.settings.envs_folder / NAME / "conda-lock.yml"
    text = "\n".join(
        line for line in path.read_text().splitlines() if "envforge.target" not in line
    )
    other = tmp_path / "other.yml"
    other.write_text(text + "\n")
    assert failed(by(forge, lock=other, driver="470.82.01")) == ["driver-too-old"]


@pytest.mark.parametrize("driver", [None, "570.124.06"])
def test_a_lock_for_another_platform(tmp_path: Path, driver: str | None) -> None:
    """On this machine a problem; for one that is described, that platform is judged."""
    forge = fake_forge(tmp_path, packages=conda_forge("linux-aarch64"))
    folder = make_environment(forge, "q", platforms=("linux-aarch64",), cuda="cpu")
    report = by(forge, lock=folder / "conda-lock.yml", driver=driver)
    assert report.passed is (driver is not None)
    assert failed(report) == ([] if driver else ["platform-not-locked"])


@pytest.mark.parametrize("name", ["none.yml", "."])
def test_a_lock_that_is_none(forge: Forge, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidFile):
        by(forge, lock=tmp_path / name)
    (tmp_path / "garbage.yml").write_bytes(b"\x00\xff")
    with pytest.raises(EnvforgeError):
        by(forge, lock=tmp_path / "garbage.yml")


def test_the_machine_alone(forge: Forge) -> None:
    report = by(forge, host=True, level=None)

    assert (report.subject, report.kind, report.level) == ("this machine", "host", "static")
    assert "prefix-incomplete" not in checks_of(report)
    assert not by(forge, host=True, require_gpu=True).passed


def test_an_environment_for_a_machine_that_is_described(forge: Forge, place: FakeWorkplace) -> None:
    """Torch is imported here, and no kernel is run."""
    report = verified(forge, driver="470.82.01", gpus=("V100",))
    assert "driver-too-old" in failed(report)
    assert report.level == "import"
    with pytest.raises(InvalidValue, match="driver"):
        verified(forge, driver="470.82.01", gpus=("H200",))
    with pytest.raises(InvalidValue):
        verified(forge, gpus=("H2000",))


def test_what_cannot_be_activated_does_not_work(forge: Forge) -> None:
    """A package's variable that no shell can have, or its script that fails."""
    folder = forge.settings.prefixes / NAME / "etc/conda/env_vars.d"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text('{"NO GOOD": "x"}')
    report = verified(forge)

    assert not report.passed
    assert any("cannot be activated" in item.reason for item in report.unseen)


def test_a_silent_interpreter_is_never_a_pass(forge: Forge, place: FakeWorkplace) -> None:
    """Whatever is left out."""
    (forge.settings.prefixes / NAME / "bin" / "python").unlink()
    report = verified(forge, level="import", only=("metadata-broken",))
    assert not report.passed
    assert "there is no interpreter in " in report.unseen[0].reason
