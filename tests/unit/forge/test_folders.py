"""The files of one environment, read and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.workplace import FakeWorkplace, fake_workplace

from envforge.adapters.environments import CONDA_LOCK_YML
from envforge.errors import InvalidFile
from envforge.forge import Forge, folders
from envforge.solve import record


@pytest.fixture
def place(tmp_path: Path) -> FakeWorkplace:
    return fake_workplace(tmp_path)


@pytest.fixture
def folder(place: FakeWorkplace) -> Path:
    """A locked environment."""
    forge = Forge(settings=place.settings)
    forge._workplace = place
    return forge.lock("p", torch="2.7.1", cuda="12.6", python="3.10").folder


@pytest.mark.parametrize("key", [folders.VARIABLES, record.KEY])
@pytest.mark.parametrize(
    ("value", "said"),
    [("'{'", "is no JSON"), ("'[]'", "is not what envforge wrote"), ("'3'", "is not what")],
)
def test_metadata_that_was_broken_by_hand_is_named(
    place: FakeWorkplace, folder: Path, key: str, value: str, said: str
) -> None:
    path = folder / CONDA_LOCK_YML
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"    {key}:")]
    at = lines.index("  custom_metadata:") + 1
    path.write_text("\n".join([*lines[:at], f"    {key}: {value}", *lines[at:]]) + "\n")

    with pytest.raises(InvalidFile, match=said) as caught:
        folders.read_lock(place, folder)
    assert key in str(caught.value)
    assert "`envforge lock p-torch27-cu126`" in (caught.value.hint or "")


def test_variables_are_texts(place: FakeWorkplace, folder: Path) -> None:
    path = folder / CONDA_LOCK_YML
    added = f"  custom_metadata:\n    {folders.VARIABLES}: '{{\"A\": 1}}'"
    path.write_text(path.read_text().replace("  custom_metadata:", added))

    with pytest.raises(InvalidFile, match="is not what envforge wrote"):
        folders.read_lock(place, folder)
