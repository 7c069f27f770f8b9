"""`doctor` gathers what others know, and looks at the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.server import gpu, holder, process
from fakes.workplace import FakeWorkplace, fake_workplace

from envforge.adapters.server.network import Asking
from envforge.errors import FileNotUsable, InvalidFile, InvalidValue
from envforge.forge.caching import doctoring as store_doctoring
from envforge.forge.judging import verifying
from envforge.forge.server import doctoring, watching
from envforge.model.checkup import Checkup, Topic
from envforge.model.gpu_memory import GpuReport


@pytest.fixture
def workplace(tmp_path: Path) -> FakeWorkplace:
    return fake_workplace(tmp_path)


def examine(workplace: FakeWorkplace, **given: Any) -> Checkup:
    return doctoring.examine(workplace, **{"network": False, "speed": False, **given})


def topic(checkup: Checkup, name: str) -> Topic:
    return next(item for item in checkup.topics if item.name == name)


def test_every_topic_of_a_sound_machine(workplace: FakeWorkplace) -> None:
    checkup = examine(workplace)

    assert [item.name for item in checkup.topics] == [
        "driver and GPUs",
        "GPU memory",
        "disks",
        "quotas",
        "package cache",
        "model store",
        "network",
        "clock",
        "umask",
    ]
    assert topic(checkup, "GPU memory").outcomes[0].verdict == "inapplicable"
    assert topic(checkup, "disks").facts["home"].startswith(str(workplace.settings.home))
    assert topic(checkup, "package cache").facts["in use"].endswith("none yet")
    assert topic(checkup, "model store").facts["store"].endswith("(none yet)")
    assert {item.check for item in topic(checkup, "driver and GPUs").outcomes} >= {
        "no-driver-at-all"
    }


def test_what_was_not_to_be_asked_is_no_pass(workplace: FakeWorkplace) -> None:
    network = topic(examine(workplace), "network")

    assert {item.verdict for item in network.outcomes} == {"unproven"}
    assert network.outcomes[0].detail == "it was not to be asked"
    assert network.findings == ()


def test_offline_is_said_with_its_setting(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "ENVFORGE_OFFLINE": "1"}
    workplace = fake_workplace(tmp_path, offline=True, environment=environment)

    network = topic(examine(workplace, network=True), "network")

    assert network.outcomes[0].detail == "we are offline (`ENVFORGE_OFFLINE=1`)"


def test_servers_are_asked(workplace: FakeWorkplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what they answer is told, row by row."""
    asked: list[str] = []

    def headers(_: Any, address: str) -> dict[str, str]:
        asked.append(address)
        return {"Date": "Mon, 01 Jan 2001 00:00:00 GMT"}

    monkeypatch.setattr(Asking, "_headers", headers)

    checkup = examine(workplace, network=True)

    assert "https://conda.anaconda.org/conda-forge/noarch/repodata.json" in asked
    rows = topic(checkup, "network").facts
    assert rows["channel conda-forge"].startswith("https://conda.anaconda.org/conda-forge, ")
    assert rows["hub"].endswith(" ms")
    fast = topic(checkup, "clock").findings[0]
    assert (fast.check, fast.severity) == ("clock-right", "error")
    assert "fast" in fast.message
    assert not checkup.passed


def test_who_holds_memory_is_a_warning(
    workplace: FakeWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = holder(use="idle", percent=0, process=process())
    seen = GpuReport(driver="535.1", seconds=1.0, gpus=(gpu(idle),))
    judged = watching.gpu_memory.judged(seen, uid=0)
    monkeypatch.setattr(watching, "look", lambda *_, **__: judged)

    memory = topic(examine(workplace), "GPU memory")

    assert (memory.warnings, memory.problems) == (1, 0)
    assert memory.facts == {
        "GPU 0": "NVIDIA H200, 129.5 GiB of 140.0 GiB free, held by ann, busy 50 %"
    }


def test_a_driver_that_does_not_answer_is_no_pass(
    workplace: FakeWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = GpuReport(driver="535.1", seconds=1.0, problem="NVML does not start: 999")
    monkeypatch.setattr(watching, "look", lambda *_, **__: broken)

    [outcome] = topic(examine(workplace), "GPU memory").outcomes

    assert (outcome.verdict, outcome.detail) == ("unproven", "NVML does not start: 999")


@pytest.mark.parametrize(
    ("module", "function", "name"),
    [(verifying, "verify", "driver and GPUs"), (store_doctoring, "diagnose", "model store")],
)
def test_what_cannot_be_looked_at_stops_nothing_else(
    workplace: FakeWorkplace,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    function: str,
    name: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotUsable(path="/x", reason="it is on fire", remedy="water")

    monkeypatch.setattr(module, function, refuse)

    checkup = examine(workplace)

    assert topic(checkup, name).problems == 1
    assert not checkup.passed
    assert topic(checkup, "disks").outcomes


def test_settings_of_pip_that_cannot_be_read_are_told(
    workplace: FakeWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InvalidFile(path="/etc/pip.conf", mistakes=("no section",))

    monkeypatch.setattr(doctoring, "Asking", refuse)

    network = topic(examine(workplace, network=True), "network")

    assert "/etc/pip.conf" in network.findings[0].message


def test_what_cannot_be_looked_at_keeps_its_remedy(
    workplace: FakeWorkplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InvalidValue(what="store", value="x", reason="is no folder", remedy="`mkdir x`")

    monkeypatch.setattr(store_doctoring, "diagnose", refuse)

    [outcome] = topic(examine(workplace), "model store").outcomes

    assert outcome.detail == "store `x` is no folder; `mkdir x`"
