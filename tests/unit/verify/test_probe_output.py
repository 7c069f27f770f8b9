"""The probe's document among other output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envforge.verify import probe
from envforge.verify import probe_output as po


def text(document: Any) -> str:
    return f"{po.BEGIN}\n{json.dumps(document)}\n{po.END}\n"


def test_both_sides_agree_on_the_markers() -> None:
    """They cannot import one another: the probe runs where envforge is not."""
    assert (probe.HERE, probe.BEGIN, probe.END) == (po.HERE, po.BEGIN, po.END)


def test_the_document_is_found_among_other_output() -> None:
    """Before it, after it, and when an earlier marker was printed for fun."""
    assert po.find_document(f"hello\n{text({'a': 1})}bye\n") == {"a": 1}
    assert po.find_document(f"{po.BEGIN}\nno\n{text({'a': 2})}") == {"a": 2}


@pytest.mark.parametrize(
    "output", ["", "hello", f"{po.BEGIN}\n{{", text([1]), text(1)[:-40] + "x" + po.END]
)
def test_no_document_is_no_facts(output: str) -> None:
    """Cut off, not JSON, or not an object."""
    assert po.find_document(output) is None


def test_lists_in_lists_without_end_are_no_facts() -> None:
    assert po.find_document(f"{po.BEGIN}\n{'[' * 100_000}\n{po.END}") is None
