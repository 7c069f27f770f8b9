"""One healthy machine with one environment for each test to break."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.situation import Situation, healthy


@pytest.fixture
def situation(tmp_path: Path) -> Situation:
    """A healthy one; see `fakes.situation`."""
    return healthy(tmp_path)
