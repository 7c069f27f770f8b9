"""`envforge` in this process: the real command line, over a `Forge` whose engines are fakes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.command_line import Run, run_envforge
from fakes.workplace import fake_forge

from envforge.cli import options
from envforge.forge import Forge

_DOCUMENTS = Path(__file__).parents[2] / "data" / "documents"


@pytest.fixture
def run() -> Run:
    """Call `envforge` with these arguments."""
    return run_envforge


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    """What the commands are handed."""
    forge = fake_forge(tmp_path)
    monkeypatch.setattr(options, "make_forge", lambda *_: forge)
    return forge


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Hold a text against `tests/data/documents/NAME`, which other programs rely on.

    With ENVFORGE_TEST_GOLDEN=write the file is written instead, to be looked at in the diff.
    """

    def check(name: str, text: str) -> None:
        path = _DOCUMENTS / name
        if os.environ.get("ENVFORGE_TEST_GOLDEN") == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return check
