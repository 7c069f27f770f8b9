"""What is written for activation is ours alone, and written once."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from envforge.adapters.activation import activation_files as files
from envforge.errors import FileNotUsable, InvalidFile
from envforge.formats import activation_record
from envforge.model.activation import ActivationRecord, Choices


@pytest.fixture
def wanted(tmp_path: Path) -> files.Writing:
    (tmp_path / "conda-meta").mkdir()
    scripts = files.script_files(name="n", views="/v", threads="auto", flat="no")
    return files.Writing(
        prefix=tmp_path, choices=Choices(), variables={"A": "1", "B": "2"}, files=scripts
    )


def state(wanted: files.Writing) -> dict[str, str]:
    found: dict[str, str] = json.loads((wanted.prefix / "conda-meta" / "state").read_text())
    return found["env_vars"]  # type: ignore[return-value]


def set_state(wanted: files.Writing, **variables: str) -> None:
    (wanted.prefix / "conda-meta" / "state").write_text(json.dumps({"env_vars": variables}))


def test_writing_twice_changes_nothing(wanted: files.Writing) -> None:
    assert "conda-meta/state" in files.changes(wanted)
    files.write(wanted)
    before = {path: path.stat().st_mtime_ns for path in wanted.prefix.rglob("*") if path.is_file()}

    assert files.changes(wanted) == ()
    assert state(wanted) == {"A": "1", "B": "2"}
    assert list((wanted.prefix / "conda-meta").glob("*.json")) == []  # conda takes them for records
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())


def test_a_narrow_umask_shuts_nobody_out(wanted: files.Writing) -> None:
    """conda's activation fails for all whom the prefix lets in, but who cannot read its state."""
    set_state(wanted, USER="mine")
    (wanted.prefix / "conda-meta" / "state").chmod(0o664)
    wanted.prefix.chmod(0o755)
    before = os.umask(0o077)
    try:
        files.write(wanted)
    finally:
        os.umask(before)

    modes = {
        path.relative_to(wanted.prefix).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [*wanted.prefix.rglob("*")]
        if path.name != "conda-meta"
    }
    assert modes.pop("conda-meta/state") == 0o664
    assert {modes[name] for name in modes if (wanted.prefix / name).is_dir()} <= {0o755}
    assert {modes[name] for name in modes if (wanted.prefix / name).is_file()} == {0o644}


def test_what_is_no_longer_wanted_goes_and_the_rest_stays(wanted: files.Writing) -> None:
    set_state(wanted, USER="mine")
    files.write(wanted)
    less = replace(wanted, variables={"A": "new"})
    assert files.changes(less) == (activation_record.RECORD, "conda-meta/state")
    files.write(less)

    assert state(wanted) == {"A": "new", "USER": "mine"}
    assert files.read_record(wanted.prefix).written == {"A": ("new",)}


def test_a_value_that_somebody_changed_is_theirs(wanted: files.Writing) -> None:
    files.write(wanted)
    set_state(wanted, A="theirs", B="2")
    files.write(replace(wanted, variables={}))

    assert state(wanted) == {"A": "theirs"}


def test_a_name_that_the_lock_took_over_stays(wanted: files.Writing) -> None:
    """Even with our value: the install wrote it, and the next install takes it out."""
    files.write(wanted)
    files.write(replace(wanted, variables={"B": "2"}, locked=frozenset({"A"})))

    assert state(wanted) == {"A": "1", "B": "2"}


def test_an_interruption_makes_nothing_of_ours_a_users(
    wanted: files.Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(wanted)
    new = replace(wanted, variables={"A": "other"})
    real = files.write_text

    def until_state(path: Path, text: str, *, mode: int) -> None:
        if path.name == "state":
            raise FileNotUsable(path=str(path), reason="the disk is full")
        real(path, text, mode=mode)

    monkeypatch.setattr(files, "write_text", until_state)
    with pytest.raises(FileNotUsable):
        files.write(new)
    monkeypatch.undo()

    assert files.read_record(wanted.prefix).written == {"A": ("1", "other"), "B": ("2",)}
    files.write(new)
    assert state(wanted) == {"A": "other"}


def test_a_state_that_is_not_condas_is_left_alone(wanted: files.Writing) -> None:
    path = wanted.prefix / "conda-meta" / "state"
    path.write_text("[]")
    with pytest.raises(InvalidFile):
        files.write(wanted)
    assert path.read_text() == "[]"


@pytest.mark.parametrize("text", [None, "", "x", "[]", "{}", '{"version": 2}'])
def test_a_record_that_cannot_be_read_says_nothing(text: str | None) -> None:
    assert activation_record.parse(text) == ActivationRecord()


def test_a_record_is_read_as_written() -> None:
    record = ActivationRecord(
        choices=Choices(allocator="expandable", deterministic=True, threads="3"),
        written={"A": ("1", "2")},
    )
    text = activation_record.render(record)

    assert activation_record.parse(text) == record
    assert activation_record.parse(text.replace("expandable", "odd")) == ActivationRecord()
