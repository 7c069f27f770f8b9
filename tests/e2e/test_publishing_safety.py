"""Publishing among others: what they put in its way, and what befell its records."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_publishing import STRANGER, change, named, needs_root, publish, root
from e2e.world import Place

from envforge.adapters.publishing import freezing

__all__ = ["named", "root"]


@pytest.fixture
def umask() -> Iterator[None]:
    """What the test sets is taken back."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mode) for path in folder.rglob("*"))


# --- other people ---------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("command", ["install", "rollback"])
def test_root_does_nothing_in_another_users_folder(
    place: Place, named: str, root: Path, tmp_path: Path, command: str
) -> None:
    """That user could lead it anywhere: here, to what looks like leftovers."""
    if command == "rollback":
        publish(place, named, root)
        change(place, named)
        publish(place, named, root)
        (root / ".versions").rename(tmp_path / "victim")
    victim = tmp_path / "victim" / named
    (victim / ".a.12345678").mkdir(parents=True)
    (victim / ".a.12345678" / "data").touch()
    (root / ".versions").symlink_to(tmp_path / "victim")
    os.lchown(root / ".versions", STRANGER, STRANGER)
    os.chown(root, STRANGER, STRANGER)
    before = tree(victim)

    given = ("--publish", root) if command == "install" else ("--root", root)
    done = place.run(command, named, *given)

    assert (done.status, f"it belongs to `{STRANGER}`" in done.err) == (5, True), done
    assert tree(victim) == before


@needs_root
def test_files_of_another_users_cache_become_ours(place: Place, named: str, root: Path) -> None:
    """Their owner could write them for ever, whatever the folders say."""
    cache = Path(place.variables["ENVFORGE_PACKAGE_CACHE"])
    [theirs, *_] = sorted(cache.glob("pytorch-*/lib/python3*/site-packages/torch/__init__.py"))
    os.chown(theirs, STRANGER, STRANGER)
    try:
        publish(place, named, root)
        [mine] = (root / named).resolve().glob("lib/python3*/site-packages/torch/__init__.py")
        assert mine.stat().st_uid == os.geteuid()
        assert not mine.samefile(theirs)
    finally:
        os.chown(theirs, os.geteuid(), os.getegid())


@pytest.mark.parametrize("mask", [0o077, 0o002])
@pytest.mark.usefixtures("umask")
def test_what_it_was_made_from_is_read_by_all_and_written_by_nobody_else(
    place: Place, named: str, root: Path, mask: int
) -> None:
    os.umask(mask)
    publish(place, named, root)
    [sources] = (root / ".versions" / named).glob("*.env")
    folders = [sources, *(path for path in sources.rglob("*") if path.is_dir())]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o755, 0o755]


def test_nothing_runs_as_its_owner(tmp_path: Path) -> None:
    (tmp_path / "prefix" / "bin").mkdir(parents=True)
    program = tmp_path / "prefix" / "bin" / "su"
    program.touch()
    os.link(program, tmp_path / "cache")
    program.chmod(0o6755)

    freezing.freeze(tmp_path / "prefix", "published")
    freezing.thaw(tmp_path / "prefix")

    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o6755


def test_what_links_lead_to_is_never_removed(
    place: Place, named: str, root: Path, tmp_path: Path
) -> None:
    publish(place, named, root)
    change(place, named)
    precious = tmp_path / "precious"
    (precious / "below").mkdir(parents=True)
    (precious / "below" / "data").touch()
    precious.chmod(0o500)
    before = tree(precious)
    folder = root / ".versions" / named
    for name in ("0009-abcdef01", ".x.going-12345678", ".y.12345678.tmp", "0008-abcdef01.env"):
        (folder / name).symlink_to(precious)
    (folder / "0007-abcdef01").mkdir()
    (folder / "0007-abcdef01" / "link").symlink_to(precious)
    (folder / "0007-abcdef01").chmod(0o555)
    (root / f".{named}.more.12345678.tmp").symlink_to(precious)  # another environment's

    publish(place, named, root)

    assert (tree(precious), stat.S_IMODE(precious.stat().st_mode)) == (before, 0o500)
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {".lock", "0001", "0010"}
    assert (root / f".{named}.more.12345678.tmp").is_symlink()


# --- records --------------------------------------------------------------------------------


def test_the_current_version_stays_without_its_record(place: Place, named: str, root: Path) -> None:
    """People run from it: it is no leftover, and it is kept as long as any other."""
    publish(place, named, root)
    first = (root / named).resolve()
    change(place, named)
    first.with_name(f"{first.name}.json").unlink()

    done = publish(place, named, root)
    again = publish(place, named, root, "--keep", "0")

    assert (done["before"]["number"], done["version"]["number"]) == (1, 2)
    assert [item["number"] for item in again["kept"]] == [1]
    assert (first / "conda-meta" / "history").is_file()
    assert "version 1" in place.good("rollback", named, "--root", root).out


def test_a_kill_before_the_note_does_not_shorten_its_time(
    place: Place, named: str, root: Path
) -> None:
    """It was published long ago, and left a moment ago."""
    publish(place, named, root)
    first = (root / named).resolve()
    change(place, named)
    publish(place, named, root)
    record = first.with_name(f"{first.name}.json")
    found = json.loads(record.read_text())
    record.write_text(json.dumps({**found, "published": 1e9, "retired": None}))

    done = publish(place, named, root, "--keep", "0")

    assert ([item["number"] for item in done["kept"]], done["removed"]) == ([1], [])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"digest": "x", "published": Infinity, "retired": null}',
        b'{"digest": "x", "published": 1, "retired": NaN}',
        b'{"digest": "x", "published": -1e300, "retired": null}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_damaged_record_is_told_and_removing_it_helps(
    place: Place, named: str, root: Path, text: bytes
) -> None:
    publish(place, named, root)
    first = (root / named).resolve()
    record = first.with_name(f"{first.name}.json")
    record.write_bytes(text)

    for command in (
        ("install", named, "--publish", root),
        ("rollback", named, "--root", root, "--list"),
    ):
        done = place.run(*command)
        assert done.status == 2, done.err
        assert str(record) in done.err
        assert "or remove it: the version stays the current one" in done.err
    record.unlink()
    assert publish(place, named, root)["version"]["number"] == 2
    assert (first / "conda-meta" / "history").is_file()


def test_several_publishers_make_one_version(place: Place, named: str, root: Path) -> None:
    started = [place.start("install", named, "--publish", root) for _ in range(3)]
    said = [process.communicate()[0] for process in started]

    assert [process.returncode for process in started] == [0, 0, 0]
    assert sorted("version 1 already" in text for text in said) == [False, True, True]
    found = subprocess.run([root / named / "bin" / "python", "-c", "import torch"], check=False)
    assert found.returncode == 0


@needs_root
def test_an_old_version_that_cannot_go_does_not_undo_the_new_one(
    place: Place, named: str, root: Path
) -> None:
    """Something is mounted at it: the kernel refuses to rename it."""
    publish(place, named, root)
    first = (root / named).resolve()
    change(place, named)
    mounting = ["mount", "-t", "tmpfs", "tmpfs", str(first)]
    mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.strip()}")
    try:
        done = publish(place, named, root, "--keep", "0", "--keep-for", "0")
    finally:
        subprocess.run(["umount", "-l", str(first)], check=True)

    assert done["version"]["number"] == 2
    assert done["removed"] == []
    assert "could not be removed" in done["kept"][0]["reason"]
    assert publish(place, named, root)["is_new"] is False
    assert not first.exists()
