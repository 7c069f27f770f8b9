"""The healthy twin of everything: no finding on a GPU server, nor without a GPU."""

from __future__ import annotations

import pytest
from fakes.situation import Situation


@pytest.mark.parametrize("level", ["static", "import"])
def test_a_gpu_server(situation: Situation, level: str) -> None:
    """Nothing is named, and torch and the driver are among what was proven."""
    report = situation.is_healthy(level=level)

    assert report.passed
    assert "GPU 0" in report.proven


@pytest.mark.parametrize("level", ["static", "import"])
def test_a_login_node(situation: Situation, level: str) -> None:
    """No driver and no GPU: nothing is wrong, and what was not proven is said."""
    situation.no_gpu()

    report = situation.is_healthy(level=level)

    assert report.passed
    assert report.unproven
