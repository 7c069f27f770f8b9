"""The request a folder was made from, and how another one differs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.spec import Request
from envforge.solve.record import KEY, differences, to_text

REQUEST = Request(
    project="p",
    torch="2.7",
    cuda=CudaVersion(12, 6),
    python="3.12",
    packages=("numpy<2", "einops"),
    template="nlp",
    source="conda-forge",
    channels=("lab",),
    platforms=("linux-64", "win-64"),
)
CHOICE = Choice(
    torch="2.7.1", cuda=CudaVersion(12, 6), python="3.12", source="conda-forge", cudnn=None
)
WHEELS = replace(CHOICE, source="wheels")


def recorded(request: Request = REQUEST, choice: Choice = CHOICE, index: str = "pytorch") -> Any:
    return {KEY: to_text(request, choice, index)}


def test_what_was_decided_is_recorded_and_what_is_empty_left_out() -> None:
    """One line, equal for equal requests."""
    text = to_text(REQUEST, CHOICE, "pytorch")
    bare = Request(project="p", torch="latest", cuda="auto")

    assert json.loads(text) == {
        "project": "p",
        "torch": "2.7.1",
        "cuda": "12.6",
        "python": "3.12",
        "packages": ["numpy<2", "einops"],
        "template": "nlp",
        "source": "conda-forge",
        "channels": ["lab"],
        "platforms": ["linux-64", "win-64"],
    }
    assert "\n" not in text
    assert text == to_text(replace(REQUEST), CHOICE, "site")
    assert json.loads(to_text(bare, replace(WHEELS, cuda=None), "site")) == {
        "project": "p",
        "torch": "2.7.1",
        "cuda": "cpu",
        "source": "wheels",
        "platforms": ["linux-64"],
        "wheel_index": "site",
    }


def test_nothing_secret_is_recorded() -> None:
    request = replace(REQUEST, channels=("https://me:secret@host/t/tk-1/c",))

    assert "secret" not in to_text(request, WHEELS, "https://you:secret@host/whl")
    assert json.loads(to_text(request, WHEELS, "https://you:secret@host/whl"))["channels"] == [
        "https://host/c"
    ]
    assert differences(recorded(request), request, CHOICE) == ()


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"torch": "2.7.1"},
        {"source": "auto"},
        {"python": None},
        {"wheel_index": "auto"},
        {"packages": ("einops", "numpy<2")},
        {"platforms": ("win-64", "linux-64")},
    ],
)
def test_requests_that_mean_the_same(same: dict[str, Any]) -> None:
    """What was left to us does not count, nor in which order things were typed."""
    assert differences(recorded(), replace(REQUEST, **same), CHOICE) == ()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"packages": ("einops",)}, "packages: numpy<2 einops, now einops"),
        ({"packages": ()}, "packages: numpy<2 einops, now none"),
        ({"template": None}, "template: nlp, now none"),
        ({"python": "3.11"}, "python: 3.12, now 3.11"),
        ({"channels": ("lab", "other")}, "channels: lab, now lab other"),
        ({"platforms": ("linux-64",)}, "platforms: linux-64 win-64, now linux-64"),
        ({"project": "q"}, "project: p, now q"),
    ],
)
def test_other_requests_say_what_differs(other: dict[str, Any], said: str) -> None:
    assert differences(recorded(), replace(REQUEST, **other), CHOICE) == (said,)


def test_the_order_of_channels_is_their_priority() -> None:
    made = recorded(replace(REQUEST, channels=("a", "b")))

    assert differences(made, replace(REQUEST, channels=("b", "a")), CHOICE) == (
        "channels: a b, now b a",
    )


def test_another_patch_release_of_one_name() -> None:
    """2.7.0 and 2.7.1 share a folder."""
    made = recorded(choice=replace(CHOICE, torch="2.7.0"))

    assert differences(made, REQUEST, CHOICE) == ("torch: 2.7.0, now 2.7.1",)


def test_a_source_that_auto_would_now_choose_otherwise_is_kept() -> None:
    """A new release of the tables must not make old folders strangers."""
    free = replace(REQUEST, source="auto")

    assert differences(recorded(free, CHOICE), free, WHEELS) == ()
    assert differences(recorded(free, CHOICE), replace(REQUEST, source="wheels"), WHEELS)


def test_the_index_counts_for_wheels_only() -> None:
    made = recorded(choice=WHEELS, index="pytorch")
    wheels = replace(REQUEST, source="wheels", wheel_index="site")

    assert differences(made, wheels, WHEELS) == ("wheel_index: pytorch, now site",)
    assert differences(recorded(), replace(REQUEST, wheel_index="site"), CHOICE) == ()


def test_several_differences_come_in_order_of_name() -> None:
    found = differences(recorded(), replace(REQUEST, template=None, packages=()), CHOICE)

    assert [line.partition(":")[0] for line in found] == ["packages", "template"]


def test_without_a_record_nothing_can_be_said() -> None:
    assert differences({}, REQUEST, CHOICE) == ()
