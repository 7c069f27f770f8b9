"""The list of checks is current, and every check says all that a person needs of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from catalogue import page

from envforge.verify.registry import CHECKS

FAILURES = Path(
    os.environ.get(
        "ENVFORGE_TEST_FAILURES", Path(__file__).parents[4] / "shared" / "facts" / "failures.json"
    )
)
"""Real failures that were collected, where a copy of the list lies beside the project."""
NOT_IN_THE_TABLE: dict[str, str] = {}
"""Ids of that list that no check has, and why."""


def test_the_page_is_current() -> None:
    """Else: `nox -s docs`."""
    covering = page.covered()
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.page(text, covering) == text
    assert page.tested_document(covering) == page.TESTED.read_text(encoding="utf-8")


def test_every_check_is_tested_or_says_why_not() -> None:
    covering = page.covered()
    assert [name for name in CHECKS if name not in covering and not page.UNTESTED.get(name)] == []
    assert [name for name in page.UNTESTED if name in covering] == [], "it is tested after all"
    assert [name for name in (*covering, *page.UNTESTED) if name not in CHECKS] == []


@pytest.mark.parametrize("field", ["claim", "cause", "fix", "symptom", "why", "source"])
def test_every_check_explains_itself(field: str) -> None:
    """What `envforge explain` prints."""
    assert [name for name, item in CHECKS.items() if not getattr(item, field)] == []


def test_an_id_is_the_name_of_a_function() -> None:
    for name, item in CHECKS.items():
        function = item.test.__name__
        assert name in {function.replace("_", "-"), f"cuda-{function.replace('_', '-')}"}, name


def test_what_explains_a_check_stands_before_it() -> None:
    order = list(CHECKS)
    for name, item in CHECKS.items():
        for cause in item.after:
            assert cause in CHECKS, f"{name} waits for {cause}, which does not exist"
            assert order.index(cause) < order.index(name), f"{cause} must stand before {name}"


def test_what_is_no_plain_id_is_refused(tmp_path: Path) -> None:
    """The marks are read without running the tests."""
    path = tmp_path / "test_x.py"
    path.write_text("@situation.covers('a', 'b')\n@other\ndef test_y(): ...\n")
    assert page.covered(tmp_path) == {"a": "test_x.py::test_y", "b": "test_x.py::test_y"}
    path.write_text("@covers(*IDS)\ndef test_y(): ...\n")
    with pytest.raises(TypeError, match="plain text"):
        page.covered(tmp_path)
    with pytest.raises(ValueError, match="marks of the list are gone"):
        page.page("no marks", {})


def test_every_failure_that_was_collected_has_its_check() -> None:
    if not FAILURES.is_file():
        pytest.skip(f"no list of failures at {FAILURES}")
    ids = {item["id"] for item in json.loads(FAILURES.read_text(encoding="utf-8"))}
    assert sorted(ids - CHECKS.keys() - NOT_IN_THE_TABLE.keys()) == []
