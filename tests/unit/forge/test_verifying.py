"""Facts are gathered for the environment that was named, and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.workplace import NAME, FakeWorkplace, fake_forge, make_environment, workplace_of

from envforge.errors import InvalidValue, StaleLock
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
    (forge.settings.envs_folder / NAME / "conda-lock.yml").write_text("version: 6\n")

    [report] = forge.verify(level="static")

    assert not report.passed
    assert "conda-lock.yml" in report.outcomes[0].detail


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


def test_a_prefix_belongs_to_one_environment(forge: Forge, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="none was named"):
        forge.verify(prefix=tmp_path)


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
