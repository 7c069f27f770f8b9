"""The tables, machines by their names, and the facts the tables were derived from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envforge.matrix import Matrix, described, load
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Machine
from envforge.model.spec import Request

SHARED_FACTS = Path(
    os.environ.get(
        "ENVFORGE_TEST_FACTS", Path(__file__).parents[4] / "shared" / "facts" / "matrix.json"
    )
)
"""What the tables were derived from, where a checkout of it lies beside the project."""


@pytest.fixture(scope="session")
def matrix() -> Matrix:
    return load()


@pytest.fixture(scope="session")
def facts() -> dict[str, Any]:
    """The published facts; skips, visibly, where they are absent."""
    if not SHARED_FACTS.is_file():
        pytest.skip(f"no matrix facts at {SHARED_FACTS}")
    found: dict[str, Any] = json.loads(SHARED_FACTS.read_text(encoding="utf-8"))
    return found


@pytest.fixture
def machine(matrix: Matrix) -> Callable[..., Machine]:
    """`machine("535.104.05", "H200")`."""

    def build(driver: str | None, *gpus: str) -> Machine:
        return described(driver, gpus, matrix)

    return build


@pytest.fixture
def request_for() -> Callable[..., Request]:
    """`request_for("2.0.1", "11.8", python="3.10")`; CUDA as typed."""

    def build(torch: str, cuda: str, **fields: Any) -> Request:
        parsed = {"cpu": None, "auto": "auto"}.get(cuda, "")
        return Request(
            project="nlp-bert",
            torch=torch,
            cuda=CudaVersion.parse(cuda) if parsed == "" else parsed,  # type: ignore[arg-type]
            **fields,
        )

    return build
