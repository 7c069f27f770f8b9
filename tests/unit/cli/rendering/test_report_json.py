"""The JSON of a verification: stable, and as the schema in the package says."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes.reports import ASKED, BROKEN, CRASHED, HEALTHY, HOSTILE, NO_GPU, UNSEEN, WARNED
from jsonschema import Draft202012Validator

from envforge.cli.rendering.report_json import as_document, as_json
from envforge.model.finding import Report

SCHEMA = json.loads(
    (importlib.resources.files("envforge.verify") / "schema/verify-1.schema.json").read_text(
        "utf-8"
    )
)
ALL = [BROKEN, HEALTHY, NO_GPU, WARNED, CRASHED, UNSEEN, ASKED, HOSTILE]


def test_it_names_its_schema_and_holds_everything() -> None:
    """One document for all reports of a run."""
    document = json.loads(as_json([BROKEN, NO_GPU]))

    assert document["schema"] == "envforge.verify/1"
    assert document["passed"] is False
    broken, no_gpu = document["reports"]
    assert broken["findings"][0]["check"] == "other-cuda-build"
    assert broken["findings"][0]["remedy"]
    assert [item["check"] for item in broken["outcomes"]] == [o.check for o in BROKEN.outcomes]
    assert {"check": "driver-too-old", "reason": "no NVIDIA driver on this machine"} in no_gpu[
        "unproven"
    ]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("report", ALL, ids=range(len(ALL)))
def test_output_is_as_the_schema_says(report: Report) -> None:
    Draft202012Validator(SCHEMA).validate(json.loads(as_json([report, HEALTHY])))


def test_every_field_is_in_the_schema() -> None:
    """A field that is added must be described, so that readers learn of it."""
    described = SCHEMA["$defs"]
    document = as_document(BROKEN)
    assert document.keys() == described["report"]["properties"].keys()
    assert document["findings"][0].keys() == described["finding"]["properties"].keys()
    assert document["outcomes"][0].keys() == described["outcome"]["properties"].keys()
    [unseen] = as_document(UNSEEN)["unseen"]
    assert (
        unseen.keys() == described["report"]["properties"]["unseen"]["items"]["properties"].keys()
    )
    for part in ("report", "finding", "outcome"):
        assert {*described[part]["required"]} == described[part]["properties"].keys()


@pytest.mark.parametrize(
    "harm",
    [
        lambda document: document.pop("passed"),
        lambda document: document["reports"][0].pop("kind"),
        lambda document: document["reports"][0].update(level="deep"),
        lambda document: document["reports"][0]["findings"][0].update(remedy=""),
        lambda document: document["reports"][0]["outcomes"][0].update(verdict="fine"),
        lambda document: document["reports"].clear(),
    ],
)
def test_the_schema_refuses_what_is_wrong(harm: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(as_json([BROKEN]))
    harm(document)
    assert not Draft202012Validator(SCHEMA).is_valid(document)


def test_names_that_are_no_text_do_not_break_it() -> None:
    """A file name that is no UTF-8."""
    odd = as_json([replace(HEALTHY, proven={"file": "caf\udce9"})])
    assert json.loads(odd)["reports"][0]["proven"] == {"file": "caf?"}
    odd.encode("utf-8")
