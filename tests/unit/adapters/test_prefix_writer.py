from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from fakes.installing import conda_package

from envforge.adapters import prefix_writer
from envforge.adapters.prefix_reader import read_record, read_state
from envforge.errors import FileNotUsable, InvalidFile
from envforge.model.prefix import InstallPlan, InstallRecord, PrefixState

RECORD = InstallRecord(digest="d", complete=False)


def test_the_marker_makes_a_prefix_incomplete(tmp_path: Path) -> None:
    prefix = tmp_path / "deep" / "env"
    prefix_writer.write_marker(prefix, RECORD)
    assert read_state(prefix) is PrefixState.INCOMPLETE
    assert read_record(prefix) == RECORD
    assert [path.name for path in (prefix / "conda-meta").iterdir()] == ["envforge-install"]


def test_a_prefix_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotUsable):
        prefix_writer.write_marker(tmp_path / "file" / "env", RECORD)


def test_records_that_got_no_name_go(tmp_path: Path) -> None:
    meta = tmp_path / "conda-meta"
    meta.mkdir()
    for name in ("prefix_record_803b6E", "a-1-0.tmp", ".envforge-install.1f.tmp", "history"):
        (meta / name).write_text("{")
    prefix_writer.clear_leftovers(tmp_path)
    assert [path.name for path in meta.iterdir()] == ["history"]


def test_leftovers_go_and_nothing_else(tmp_path: Path) -> None:
    prefix = tmp_path / "a[b]"
    meta = prefix / "conda-meta"
    meta.mkdir(parents=True)
    (meta / "whole.json").write_text('{\n  "name": "x",\n  "version": "1",\n  "build": "0"\n}')
    (meta / "cut.json").write_text('{"name"')
    for name in (".a[b].removing-12", ".ab.removing-12", ".other.removing-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    prefix_writer.clear_leftovers(prefix)

    assert sorted(path.name for path in meta.iterdir()) == ["whole.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".ab.removing-12",
        ".other.removing-1",
        "a[b]",
    ]


def test_a_wheel_without_its_list_of_files_goes(tmp_path: Path) -> None:
    meta, site = tmp_path / "conda-meta", tmp_path / "lib/python3.11/site-packages"
    meta.mkdir()
    python = {"name": "python", "version": "3.11.7", "build": "0"}
    (meta / "python-3.11.7-0.json").write_text(json.dumps(python))
    for name, files in {
        "half-1.dist-info": ["METADATA"],
        "whole-1.dist-info": ["METADATA", "RECORD"],
    }.items():
        (site / name).mkdir(parents=True)
        for file in files:
            (site / name / file).write_text("Name: x\nVersion: 1\n")

    prefix_writer.clear_leftovers(tmp_path)

    assert [path.name for path in site.iterdir()] == ["whole-1.dist-info"]


def test_variables_are_written_where_conda_looks(tmp_path: Path) -> None:
    prefix_writer.write_variables(tmp_path, {}, [])
    assert not (tmp_path / "conda-meta" / "state").exists()

    prefix_writer.write_variables(tmp_path, {"A": "1"}, [])
    prefix_writer.write_variables(tmp_path, {"B": "2"}, ["A"])

    written = json.loads((tmp_path / "conda-meta" / "state").read_text())
    assert written == {"env_vars": {"B": "2"}}


@pytest.mark.parametrize("text", ["[]", '{"env_vars": ["A"]}', "{"])
def test_a_state_that_is_not_condas_is_left_alone(tmp_path: Path, text: str) -> None:
    state = tmp_path / "conda-meta" / "state"
    state.parent.mkdir()
    state.write_text(text)

    with pytest.raises(InvalidFile, match="conda-meta/state"):
        prefix_writer.write_variables(tmp_path, {"A": "1"}, [])
    assert state.read_text() == text
    state.write_bytes(b"\xff")
    with pytest.raises(FileNotUsable, match="not UTF-8"):
        prefix_writer.write_variables(tmp_path, {"A": "1"}, [])


def test_history_starts_with_everything_and_goes_on_with_differences(tmp_path: Path) -> None:
    one, two = conda_package("one"), conda_package("two")
    resumed = InstallPlan(prefix=tmp_path, add=(two,))
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "history").touch()  # rattler leaves an empty one

    for when in ("first", "second"):
        prefix_writer.write_history(tmp_path, resumed, packages=(one, two), when=when, requested=())

    text = (tmp_path / "conda-meta" / "history").read_text()
    assert text == (
        "==> first <==\n# cmd: envforge install\n"
        "conda-forge/linux-64::one-1.0-0\nconda-forge/linux-64::two-1.0-0\n"
        "==> second <==\n# cmd: envforge install\n+conda-forge/linux-64::two-1.0-0\n"
    )


def test_deletion_opens_what_packages_closed(tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    closed = prefix / "share" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    (prefix / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").touch()
    closed.chmod(0o555)

    prefix_writer.delete(prefix)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "kept").exists()


def test_of_a_link_what_it_leads_to_goes_too(tmp_path: Path) -> None:
    """Environments are put on a larger disk in this way."""
    (tmp_path / "large" / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env").symlink_to(tmp_path / "large" / "env")

    prefix_writer.delete(tmp_path / "env")

    assert [path.name for path in tmp_path.rglob("*")] == ["large"]


@pytest.mark.parametrize("call", ["unlink", "rmdir", "open"])
def test_a_tree_that_its_owner_closed_is_opened(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may delete anything, so the refusal is made here, the first time it is tried."""
    prefix = tmp_path / "env"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "file").touch()
    refused: list[object] = []
    real = getattr(os, call)

    def refuse_once(path: object, *given: object, **named: object) -> object:
        if not refused and str(path).endswith(("file", "bin")):
            refused.append(path)
            raise PermissionError(13, "Permission denied", path)
        return real(path, *given, **named)

    monkeypatch.setattr(os, call, refuse_once)
    prefix_writer.delete(prefix)
    monkeypatch.undo()

    assert refused
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_writes_a_last_file_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "env"
    (prefix / "bin").mkdir(parents=True)
    real, tries = os.rmdir, []

    def rmdir(path: object, **given: object) -> None:
        tries.append(path)
        if len(tries) <= 2:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        real(path, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rmdir", rmdir)
    monkeypatch.setattr(prefix_writer, "_PAUSE", 0.0)
    prefix_writer.delete(prefix)

    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "conda-meta" / "history").mkdir(parents=True)
    plan = InstallPlan(prefix=tmp_path)
    with pytest.raises(FileNotUsable):
        prefix_writer.write_history(tmp_path, plan, packages=(), when="now", requested=())


def test_leftovers_that_stay_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "env" / "conda-meta").mkdir(parents=True)
    (tmp_path / "env" / "conda-meta" / "cut.json").write_text("{")
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(FileNotUsable, match="permission denied"):
        prefix_writer.clear_leftovers(tmp_path / "env")


def test_what_cannot_be_moved_aside_stays(tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable):
        prefix_writer.delete(tmp_path / "none")
