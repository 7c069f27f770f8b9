"""JUnit XML: valid by what Jenkins and Ant ask for, whatever a message holds."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from fakes.reports import ASKED, BROKEN, CRASHED, HEALTHY, HOSTILE, NO_GPU, UNSEEN, WARNED

from envforge.cli.rendering.report_junit import as_junit
from envforge.model.finding import Report

ALL = [BROKEN, HEALTHY, NO_GPU, WARNED, CRASHED, UNSEEN, ASKED, HOSTILE]
_SUITE = {
    *("id", "name", "package", "timestamp", "hostname", "tests", "failures", "errors", "skipped"),
    "time",
}


def parsed(*reports: Report) -> ET.Element:
    return ET.fromstring(as_junit(reports, now=0))  # noqa: S314 - our own text


@pytest.mark.parametrize("report", ALL, ids=range(len(ALL)))
def test_it_is_valid(report: Report) -> None:
    """Attributes and the order of elements, as both schemas have them; counts that are right."""
    root = parsed(report, HEALTHY)
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.attrib.keys() == _SUITE
        assert suite.attrib["timestamp"] == "1970-01-01T00:00:00"
        cases = suite.findall("testcase")
        tags = [item.tag for item in suite]
        assert tags == ["properties", *["testcase"] * len(cases), "system-out", "system-err"]
        assert int(suite.attrib["tests"]) == len(cases)
        for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(suite.attrib[count]) == sum(item.find(tag) is not None for item in cases)
        for case in cases:
            assert case.attrib.keys() == {"name", "classname", "time"}
            assert len(case) <= 1
            for ending in case:
                assert ending.tag == "skipped" or {"message", "type"} <= ending.attrib.keys()
        for item in suite.iterfind("properties/property"):
            assert item.attrib.keys() == {"name", "value"}


def test_a_finding_is_a_failure() -> None:
    [suite] = parsed(BROKEN)
    [failure] = suite.iterfind("testcase[@name='other-cuda-build']/failure")
    assert failure.attrib["message"].startswith("torch was compiled with CUDA 11.7")
    assert "remedy: envforge install nlp-bert-torch20-cu118" in (failure.text or "")


def test_a_warning_is_none() -> None:
    """It stands in what the suite printed."""
    [suite] = parsed(WARNED)
    assert suite.attrib["failures"] == "0"
    assert "black 25.1" in (suite.findtext("system-out") or "")


def test_what_could_not_look_is_skipped() -> None:
    [suite] = parsed(NO_GPU)
    [skipped] = suite.iterfind("testcase[@name='driver-too-old']/skipped")
    assert skipped.attrib["message"] == "no NVIDIA driver on this machine"


@pytest.mark.parametrize(
    ("report", "name"), [(CRASHED, "odd"), (ASKED, "odd"), (UNSEEN, "probe-unseen")]
)
def test_what_is_no_pass_is_an_error(report: Report, name: str) -> None:
    [suite] = parsed(report)
    assert suite.attrib["errors"] == "1"
    assert suite.find(f"testcase[@name='{name}']/error") is not None


def test_the_time_is_now() -> None:
    assert 'timestamp="20' in as_junit([HEALTHY])
