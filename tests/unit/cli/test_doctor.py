"""`envforge doctor`: one page, with what is wrong first."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.command_line import Run
from fakes.server import address, replaced, server

from envforge.around.server.server_checks import TOPICS
from envforge.forge import Forge
from envforge.model.checkup import Checkup, Topic
from envforge.model.finding import Finding, Outcome, judged

pytestmark = pytest.mark.usefixtures("forge")


def checkup(*more: Topic, **otherwise: Any) -> Checkup:
    seen = server(**otherwise)
    facts = {"disks": {"home": "/home/ann, 1.0 of 2.0 GB free"}}
    topics = [
        Topic(name=name, outcomes=judged(checks, seen), facts=facts.get(name, {}))
        for name, checks in TOPICS.items()
    ]
    return Checkup(topics=(*topics, *more))


def shows(monkeypatch: pytest.MonkeyPatch, found: Checkup) -> list[dict[str, Any]]:
    """What `Forge.doctor` is called with, when it finds this."""
    called: list[dict[str, Any]] = []

    def doctor(_: Forge, **given: Any) -> Checkup:
        called.append(given)
        return found

    monkeypatch.setattr(Forge, "doctor", doctor)
    return called


def test_a_sound_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, checkup())

    done = run("doctor")

    assert done.status == 0
    assert done.out.splitlines() == [
        "disks: ok (7 checks passed)",
        "  home  /home/ann, 1.0 of 2.0 GB free",
        "quotas: ok (2 checks passed)",
        "package cache: ok (6 checks passed)",
        "network: ok (3 checks passed)",
        "clock: ok (2 checks passed)",
        "umask: ok (2 checks passed)",
        "22 checks passed",
    ]


def test_errors_come_before_warnings_and_both_before_the_page(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = (address(milliseconds=9e3), address("hub", kind="hub", clock_ahead=900.0))
    shows(monkeypatch, checkup(addresses=slow, **replaced("home", kind="nfs4")))

    done = run("doctor")

    lines = done.out.splitlines()
    assert done.status == 1
    heads = [line.partition(":")[0] for line in lines if line.startswith(("error", "warn"))]
    assert heads == ["error", "warning"]
    assert "  mend: sudo timedatectl set-ntp true && timedatectl timesync-status" in lines
    assert "network: 1 warning" in lines
    assert "not seen: quota-remote: home: on a file server; `quota -s` may tell" in lines
    assert "quotas: ok (1 check passed, 1 could not look)" in lines
    assert lines[-1] == "1 problem, 1 warning, 18 checks passed, 2 could not look"
    assert all(len(line) <= 80 for line in lines if "mend:" not in line)


def test_a_warning_alone_is_no_failure(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shows(monkeypatch, checkup(addresses=(address(milliseconds=9e3),), umask=None))

    assert run("doctor").status == 0


def test_what_could_not_be_looked_at_at_all(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    crashed = Outcome(check="store", claim="x", verdict="crashed", detail="on fire")
    loose = Finding(
        message="something is loose", seen="", expected="", remedy="", severity="warning"
    )
    unseen = Outcome(check="hub", claim="x", verdict="unproven", detail="offline")
    absent = Outcome(check="gpu", claim="x", verdict="inapplicable")
    topics = [
        Topic(name=name, outcomes=(outcome,))
        for name, outcome in (("model store", crashed), ("net", unseen), ("GPU memory", absent))
    ]
    warned = Outcome(check="loose", claim="x", verdict="failed", findings=(loose,))
    shows(monkeypatch, checkup(Topic(name="other", outcomes=(warned,)), *topics))

    done = run("doctor")

    assert done.status == 1
    assert done.out.startswith("error: model store cannot be looked at: on fire\n\nwarning: some")
    assert "model store: 1 problem\n" in done.out
    assert "net: not seen\n" in done.out
    assert "GPU memory: does not apply here\n" in done.out


def test_as_a_document(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    called = shows(monkeypatch, checkup(login_umask=0))

    done = run("doctor", "--json", "--no-network", "--no-speed")

    assert called == [{"network": False, "speed": False}]
    assert done.status == 1
    document = done.json
    assert (document["schema"], document["passed"]) == ("envforge.doctor/1", False)
    assert [item["topic"] for item in document["topics"]] == list(TOPICS)
    umask = document["topics"][-1]["checks"][-1]
    assert (umask["check"], umask["verdict"]) == ("umask-login", "failed")
    assert umask["findings"][0]["remedy"].startswith("sudo sed")


def test_on_this_machine(run: Run) -> None:
    """Whatever it is like; nothing is asked of a network."""
    done = run("doctor", "--no-network", "--no-speed")

    assert done.status in {0, 1}
    assert "network: not seen" in done.out
    assert "it was not to be asked" in done.out
