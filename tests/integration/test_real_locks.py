"""`diff` and `check` on locks that other people published."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from fakes.workplace import fake_forge

from envforge.errors import InvalidValue

SHARED_LOCKS = Path(
    os.environ.get("ENVFORGE_TEST_LOCKS", Path(__file__).parents[3] / "shared" / "locks")
)


@pytest.fixture
def shared_locks() -> Path:
    """Published locks; skips, visibly, where they are absent."""
    if not SHARED_LOCKS.is_dir():
        pytest.skip(f"no locks at {SHARED_LOCKS}")
    return SHARED_LOCKS


def test_any_two_can_be_compared(shared_locks: Path, tmp_path: Path) -> None:
    forge = fake_forge(tmp_path)
    paths = sorted(shared_locks.glob("*.lock")) + sorted(shared_locks.glob("*.yml"))
    compared = 0
    for old, new in pairwise(paths):
        try:
            found = forge.diff(str(old), str(new))
        except InvalidValue:  # no platform in common
            continue
        compared += 1
        assert not found.is_same
        assert {move.cause.why for move in found.moves} <= {"asked", "because", "fresh", "unknown"}
    assert compared >= 3


def test_a_lock_is_the_same_as_itself_whoever_wrote_it(shared_locks: Path, tmp_path: Path) -> None:
    forge = fake_forge(tmp_path)
    paths = sorted(shared_locks.glob("*lock*"))
    assert len(paths) >= 3
    for path in paths:
        found = forge.diff(str(path), str(path))
        assert found.is_same, path
        assert not found.difference.changes, path


def test_gpu_rows_of_two_that_are_well_known(shared_locks: Path, tmp_path: Path) -> None:
    old = next(shared_locks.glob("nlp-research-template-torch2.0.1*"))
    new = next(shared_locks.glob("clay-torch2.1.2*"))
    found = fake_forge(tmp_path).diff(str(old), str(new))
    linux = {row.fact: row for row in found.gpu if "linux-64" in row.platforms}
    assert (linux["torch"].before, linux["torch"].after) == ("2.0.1", "2.1.2")
    assert (linux["CUDA"].before, linux["CUDA"].after) == ("11.8", "12.0")
    assert (linux["driver"].before, linux["driver"].after) == (
        "450.80.02 or newer",
        "525.60.13 or newer",
    )
    assert found.lost_platforms is not None
    assert "win-64" in found.lost_platforms


@pytest.mark.parametrize("name", ["clay-torch2.1.2", "nlp-research-template-torch2.0.1"])
def test_locks_of_conda_lock_are_sound(shared_locks: Path, tmp_path: Path, name: str) -> None:
    """But for the host of a wheel, which their collector has replaced."""
    [path] = shared_locks.glob(f"{name}*.conda-lock.yml")
    [report] = fake_forge(tmp_path).check([str(path)])
    assert {item.check for item in report.findings} <= {"mirror-address"}
    assert dict(report.unproven).keys() == {"lock-stale"}
