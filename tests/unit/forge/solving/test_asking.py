"""From what was typed to a request, and from a request to a decision."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fakes.installing import RecordingReporter
from fakes.workplace import H200, FakeWorkplace, FixedProbe, fake_workplace

from envforge.errors import DriverTooOld, InvalidValue, NoMatchingBuild
from envforge.forge.solving.asking import Decision, decide, make_request, refuse_request_options
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Driver, Machine
from envforge.model.spec import Request


@pytest.fixture
def place(tmp_path: Path) -> FakeWorkplace:
    return fake_workplace(tmp_path, wheel_index="site")


def asked(place: FakeWorkplace, **given: Any) -> Request:
    return make_request(place, "p", **given)


def said(place: FakeWorkplace) -> RecordingReporter:
    assert isinstance(place.reporter, RecordingReporter)
    return place.reporter


def test_what_is_left_out_is_chosen(place: FakeWorkplace) -> None:
    """Latest torch, the newest CUDA that runs, this platform, the index that is set."""
    request = asked(place)

    assert (request.torch, request.cuda, request.python) == ("latest", "auto", None)
    assert request.platforms == ("linux-64",)
    assert request.wheel_index == "site"
    assert asked(place, wheel_index="pytorch").wheel_index == "pytorch"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("11.8", CudaVersion(11, 8)),
        ("cu118", CudaVersion(11, 8)),
        (CudaVersion(11, 8), CudaVersion(11, 8)),
        (" CPU ", None),
        ("none", None),
        ("AUTO", "auto"),
        (None, "auto"),
    ],
)
def test_cuda_as_people_write_it(place: FakeWorkplace, typed: Any, meant: Any) -> None:
    assert asked(place, cuda=typed).cuda == meant


def test_torch_and_python_as_people_write_them(place: FakeWorkplace) -> None:
    request = asked(place, torch=" v2.0.1 ", python=" 3.10 ")

    assert (request.torch, request.python) == ("2.0.1", "3.10")


def test_what_is_not_one_of_them_names_them_all(place: FakeWorkplace) -> None:
    with pytest.raises(InvalidValue, match=r"source `pypi` is not one of auto, pytorch, "):
        asked(place, source="pypi")
    with pytest.raises(InvalidValue, match=r"platform `linux` is not one of linux-64, "):
        asked(place, platforms=("linux",))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channels": ("",)}, "channel `` is neither a name nor an address"),
        ({"channels": ("a b",)}, "channel `a b` is neither a name nor an address"),
        ({"wheel_index": "pypi"}, "wheel index `pypi` is neither"),
        ({"template": "visoin"}, "template `visoin` does not exist"),
        ({"packages": ("numpy >=",)}, "numpy >="),
        ({"torch": ""}, ""),
    ],
)
def test_a_slip_is_told_before_anything_is_decided(
    place: FakeWorkplace, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        decide(place, asked(place, **given))

    assert said in str(caught.value)


def test_channels_that_are_folders_become_addresses(
    place: FakeWorkplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock may be read from another folder."""
    monkeypatch.chdir(tmp_path)
    given = ("lab", "https://host/c", "./here", str(tmp_path / "there"))

    assert asked(place, channels=given).channels == (
        "lab",
        "https://host/c",
        (tmp_path / "here").as_uri(),
        (tmp_path / "there").as_uri(),
    )


def test_a_decision_is_named_and_explained(place: FakeWorkplace) -> None:
    found = decide(place, asked(place, torch="2.7", cuda="12.6"))

    assert found.name == "p-torch27-cu126"
    assert found.choice.torch == "2.7.1"
    assert [note.partition(":")[0] for note in said(place).notes] == [
        "torch 2.7.1",
        "source conda-forge",
        "python 3.13",
    ]


def test_a_described_machine_is_judged_instead_of_this_one(place: FakeWorkplace) -> None:
    """It binds `lock`, too: who describes a machine means it. This one is not looked at."""
    request = asked(place, torch="2.7.1", cuda="12.8")
    for command in ("create", "lock"):
        with pytest.raises(DriverTooOld) as caught:
            decide(place, request, driver="470.82.01", gpus=("V100",), command=command)  # type: ignore[arg-type]
        nearest = caught.value.nearest
        assert all(line.startswith(f"envforge {command} p ") for line in nearest)
        assert all(line.endswith("--driver 470.82.01 --gpu 'Tesla V100'") for line in nearest)
    assert isinstance(place.probe, FixedProbe)
    assert place.probe.looks == 0


@pytest.mark.parametrize("how", [{"command": "lock"}, {"force": True}])
def test_what_does_not_bind_still_warns(tmp_path: Path, how: dict[str, Any]) -> None:
    old = Machine(driver=Driver(version="470.82.01", cuda=CudaVersion(11, 4)))
    place = fake_workplace(tmp_path, machine=old)
    found = decide(place, asked(place, torch="2.7.1", cuda="12.8"), **how)

    assert isinstance(found, Decision)
    [warning] = said(place).warnings
    assert warning.startswith("driver 470.82.01 cannot run CUDA 12.8")


def test_no_warning_where_it_runs(tmp_path: Path) -> None:
    place = fake_workplace(tmp_path, machine=H200)
    decide(place, asked(place, torch="2.7.1", cuda="12.8"), command="lock")

    assert said(place).warnings == []


def test_the_interpreter_that_runs_us_has_a_version(place: FakeWorkplace) -> None:
    """`host` is judged by it, and needs wheels."""
    request = asked(place, torch="2.13.0", cuda="cpu", python="host", source="wheels")
    found = decide(place, request)

    assert found.choice.python == "host"
    assert any(f"{sys.version_info[0]}.{sys.version_info[1]}" in note for note in said(place).notes)
    with pytest.raises(NoMatchingBuild):
        decide(place, asked(place, torch="1.8.0", cuda="cpu", python="host", source="wheels"))


def test_options_that_mean_a_request(place: FakeWorkplace) -> None:
    refuse_request_options("p", {"packages": (), "source": "auto", "python": None})
    with pytest.raises(InvalidValue, match="`--template` needs `--torch` or `--cuda`") as caught:
        refuse_request_options("p", {"template": "nlp"})
    assert "`envforge add p PKG`" in str(caught.value.hint)
