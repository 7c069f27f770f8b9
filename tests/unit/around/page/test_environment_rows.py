"""Environments and their verifications, in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import reports
from fakes.conda_solver import package
from fakes.locks import lock, torch_target

from envforge.around.page.environment_rows import environment_row, shortened, state_of, verify_row
from envforge.around.page.overview import EnvironmentRow, FindingRow
from envforge.formats.verified_json import of_report
from envforge.model.finding import Finding
from envforge.model.prefix import PrefixState
from envforge.model.results import EnvironmentInfo
from envforge.model.verified import Verified

NAME = reports.NAME
LOCK = replace(
    lock(package("numpy", "1.26.4"), package("numpy", "1.26.4", platform="win-64")),
    target=torch_target(),
)
READY = EnvironmentInfo(
    name=NAME,
    folder=Path("envs") / NAME,
    lock=LOCK,
    prefix=Path("/home/anna/.conda/envs") / NAME,
    state=PrefixState.INSTALLED,
    up_to_date=True,
)
PASSED = Verified(subject=NAME, level="live", passed=True, at="2026-01-30T12:00:00Z", lock="a")


def row(info: EnvironmentInfo = READY, verified: Verified | None = PASSED) -> EnvironmentRow:
    found = verify_row(verified, digest="a") if verified else None
    return environment_row(info, found, platform="linux-64", home="/home/anna")


def test_what_it_is_locked_to() -> None:
    found = row()
    assert (found.torch, found.accelerator, found.python) == ("2.0.1", "CUDA 11.8", "3.10")
    assert (found.driver, found.packages) == ("450.80.02", 1)
    assert found.platforms == ("linux-64", "win-64")
    assert found.prefix == f"~/.conda/envs/{NAME}"
    assert found.verified.text == "passed"
    assert found.verified_at == "2026-01-30T12:00:00Z"


@pytest.mark.parametrize(
    ("changes", "text", "tone", "remedy"),
    [
        ({}, "ready", "good", ""),
        ({"problem": "bad", "lock": None}, "cannot be read", "bad", ""),
        ({"lock": None}, "not locked", "warn", f"envforge lock {NAME}"),
        ({"stale": ("x", "y")}, "stale lock", "warn", f"envforge lock {NAME}"),
        ({"prefix": None}, "not installed", "quiet", f"envforge install {NAME}"),
        ({"state": PrefixState.ABSENT}, "not installed", "quiet", f"envforge install {NAME}"),
        ({"state": PrefixState.INCOMPLETE}, "half installed", "bad", f"envforge install {NAME}"),
        ({"state": PrefixState.FOREIGN}, "not ours", "quiet", ""),
        ({"up_to_date": False}, "behind its lock", "warn", f"envforge install {NAME}"),
        ({"name": "a b;c", "lock": None}, "not locked", "warn", "envforge lock 'a b;c'"),
    ],
)
def test_how_far_it_is(changes: dict[str, Any], text: str, tone: str, remedy: str) -> None:
    found = state_of(replace(READY, **changes))
    assert (found.text, found.tone, found.remedy) == (text, tone, remedy)


def test_why_a_lock_is_stale_is_said() -> None:
    assert state_of(replace(READY, stale=("x", "y"))).why == "x; y"


def test_of_many_reasons_a_few_are_said() -> None:
    """Another tool's lock is stale for dozens of them."""
    assert state_of(replace(READY, stale=tuple("abcde"))).why == "a; b; c; and 2 more"


@pytest.mark.parametrize(
    ("remedy", "is_command"),
    [
        ("envforge install p-torch27-cpu", True),
        ("envforge install p; `--level static` looks at the files alone", False),
        ("envforge create p --torch 2.1.0, or update the driver", False),
        ("lock with a conda channel in reach", False),
        ("", False),
    ],
)
def test_only_a_command_is_offered_to_be_copied(remedy: str, *, is_command: bool) -> None:
    row = FindingRow(check="x", severity="error", message="x", remedy=remedy)
    assert row.is_command is is_command


def test_without_a_lock_there_is_no_more() -> None:
    found = row(replace(READY, lock=None, prefix=None), None)
    assert (found.torch, found.packages, found.verified.text) == ("", 0, "")


def test_a_lock_of_other_platforms_counts_their_packages() -> None:
    assert environment_row(READY, None, platform="osx-arm64", home="/").packages == 1


def test_a_lock_without_a_claim() -> None:
    found = row(replace(READY, lock=replace(LOCK, target=None)))
    assert (found.torch, found.accelerator, found.packages) == ("", "", 1)


def test_what_was_never_verified_says_how() -> None:
    found = row(verified=None)
    assert (found.verified.text, found.verified.remedy) == ("never", f"envforge verify {NAME}")
    assert row(replace(READY, prefix=None), None).verified.remedy == ""


@pytest.mark.parametrize("gone", [{"prefix": None}, {"state": PrefixState.ABSENT}])
def test_what_was_verified_and_is_not_installed_is_not_good(gone: dict[str, Any]) -> None:
    found = row(replace(READY, **gone)).verified

    assert (found.text, found.tone) == ("passed", "quiet")
    assert found.why == "it is not installed here now"


def test_another_lock_by_now() -> None:
    found = row(verified=replace(PASSED, lock="b"))
    assert (found.verified.text, found.verified.tone) == ("passed, before", "quiet")
    assert found.verified.remedy == f"envforge verify {NAME}"


@pytest.mark.parametrize(
    ("report", "text", "tone"),
    [
        (reports.HEALTHY, "passed", "good"),
        (reports.WARNED, "1 warning", "warn"),
        (reports.BROKEN, "1 problem", "bad"),
        (reports.CRASHED, "1 problem", "bad"),
        (reports.UNSEEN, "1 problem", "bad"),
        (reports.ASKED, "1 problem", "bad"),
    ],
)
def test_how_a_verification_ended(report: Any, text: str, tone: str) -> None:
    found = verify_row(of_report(report, at="", lock=""))
    assert (found.result.text, found.result.tone) == (text, tone)
    assert not found.is_outdated


def test_a_failure_without_findings_is_no_pass() -> None:
    found = verify_row(replace(PASSED, passed=False))
    assert (found.result.text, found.result.tone) == ("could not look", "bad")


def test_findings_name_no_home() -> None:
    """The page may be published."""
    finding = Finding(seen="", expected="", message="no /h/a/x", remedy="ls /h/a/x")
    found = replace(PASSED, findings=(finding,), proven={"torch": "/h/a/x"})

    row = verify_row(found, home="/h/a")

    assert (row.findings[0].message, row.findings[0].remedy) == ("no ~/x", "ls ~/x")
    assert row.proven == (("torch", "~/x"),)


@pytest.mark.parametrize(
    ("path", "home", "text"),
    [
        ("/home/anna/x", "/home/anna", "~/x"),
        ("/home/anna/x", "/home/anna/", "~/x"),
        ("/home/annabel/x", "/home/anna", "/home/annabel/x"),
        ("/x", "/", "/x"),
        ("anna", "", "anna"),
        ("no `/home/anna/x`, /home/anna/y", "/home/anna", "no `~/x`, ~/y"),
        ("/mnt/home/anna/x", "/home/anna", "/mnt/home/anna/x"),
        ("rm '/home/anna/a b'", "/home/anna", "rm '/home/anna/a b'"),
    ],
)
def test_the_home_is_shortened(path: str, home: str, text: str) -> None:
    assert shortened(path, home) == text
