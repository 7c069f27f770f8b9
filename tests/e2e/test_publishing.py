"""One environment for everybody: published, exchanged at once, led back, protected."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.world import Place, World
from fakes.situation import covers

from envforge.adapters.publishing import freezing
from envforge.adapters.publishing.root import PublishedRoot

STRANGER = 4100
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The folder that everybody knows; writable again at the end, for pytest to remove."""
    folder = tmp_path / "srv"
    folder.mkdir(mode=0o755)
    yield folder
    freezing.thaw(folder)


@pytest.fixture
def named(place: Place, settled: tuple[Place, str]) -> str:
    """An environment's folder in a place of its own."""
    other, name = settled
    shutil.copytree(other.envs / name, place.envs / name)
    return name


def publish(place: Place, name: str, root: Path, *more: str) -> dict[str, Any]:
    """Publish; the JSON document."""
    document: dict[str, Any] = place.good("install", name, "--publish", root, "--json", *more).json
    return document


def change(place: Place, name: str) -> None:
    """Another lock of the same environment: its activation sets one variable more."""
    path = place.envs / name / "environment.yml"
    text = path.read_text()
    number = text.count("STEP_") + 1
    block = text if "variables:" in text else f"{text.rstrip()}\nvariables:\n"
    path.write_text(f"{block.rstrip()}\n  STEP_{number}: '{number}'\n")
    place.good("lock", name)


@dataclass(frozen=True)
class Published:
    """Two versions of an environment; who leads the link to the first leads it back."""

    place: Place
    name: str
    root: Path
    done: tuple[dict[str, Any], ...]
    """What publishing said of each."""
    shared: Path
    """A file of the package cache that its group may write."""

    @property
    def link(self) -> Path:
        return self.root / self.name

    @property
    def first(self) -> Path:
        return Path(self.done[0]["version"]["prefix"])

    @property
    def second(self) -> Path:
        return Path(self.done[1]["version"]["prefix"])


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory,
    world: World,
    shared: Path,
    settled: tuple[Place, str],
) -> Iterator[Published]:
    """Published by somebody with a strict umask, out of a cache with modes of its own."""
    other, name = settled
    place = Place.beside(tmp_path_factory.mktemp("published"), world, shared)
    shutil.copytree(other.envs / name, place.envs / name)
    root = place.folder / "srv"
    root.mkdir(mode=0o755)
    cache = Path(place.variables["ENVFORGE_PACKAGE_CACHE"])
    [cached, *_] = sorted(cache.glob("pytorch-*/lib/python3*/site-packages/torch/__init__.py"))
    cached.chmod(0o664)
    umask = os.umask(0o077)
    try:
        first = publish(place, name, root)
        change(place, name)
        second = publish(place, name, root)
    finally:
        os.umask(umask)
    yield Published(place, name, root, (first, second), cached)
    cached.chmod(0o644)
    freezing.thaw(root)


def test_a_version_is_built_frozen_and_led_to(published: Published) -> None:
    link, prefix = published.link, published.link.resolve()
    assert published.done[0]["version"]["number"] == 1
    assert published.first.name.startswith("0001-")
    assert prefix == published.second
    assert prefix.parent.parent.parent == published.root
    assert json.loads((prefix / "conda-meta" / "frozen").read_text())["message"].startswith(
        str(link)
    )
    assert not any(
        stat.S_IMODE(os.lstat(folder).st_mode) & 0o222 for folder, _, _ in os.walk(prefix)
    )
    version = subprocess.run(
        [link / "bin" / "python", "-c", "import torch; print(torch.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.strip()
    registered = published.place.home / ".conda" / "environments.txt"
    assert not registered.exists() or str(prefix) not in registered.read_text("utf-8")


def test_a_change_is_a_new_version_and_can_be_led_back(published: Published) -> None:
    second = published.done[1]
    assert (second["before"]["number"], second["version"]["number"]) == (1, 2)

    place, named, root = published.place, published.name, published.root
    shown = place.good("rollback", named, "--root", root).out
    assert "version 1, before it was 2" in shown
    assert published.link.resolve() == published.first
    listed = place.good("rollback", named, "--root", root, "--list", "--json").json["versions"]
    assert [(item["number"], item["is_current"]) for item in listed] == [(1, True), (2, False)]

    none = place.run("rollback", named, "--root", root)
    assert "has no version before the one it leads to" in none.err
    [hint] = re.findall(r"`envforge (rollback .*)`", none.err)
    place.good(*shlex.split(hint))
    assert published.link.resolve() == published.second
    assert "has 1, 2" in place.run("rollback", named, "--root", root, "--to", "9").err


def test_it_goes_by_every_name_that_the_lock_goes_by(published: Published) -> None:
    """Seen from elsewhere, too: a prefix with `..` in it would not be the one that torch is in."""
    place, named = published.place, published.name
    root = Path("home", "..") / os.path.relpath(published.root, place.folder)
    lists = [
        place.good("rollback", name, "--root", root, "--list").out
        for name in (named, named.partition("-torch")[0], f"envs/{named}/")
    ]
    assert len(set(lists)) == 1
    assert f"published there: {named}\n" in place.run("rollback", "x", "--root", root).err
    place.good("verify", "--prefix", root / named)
    again = place.good("install", named, "--publish", root, "--dry-run", "--json").json
    assert again["link"] == str(published.link)


def test_a_lock_that_was_published_before_gets_a_number_of_its_own(
    place: Place, named: str, root: Path
) -> None:
    """Going back by publishing the old lock: it may have been changed meanwhile, so it is built."""
    kept = (place.envs / named).with_name("kept")
    shutil.copytree(place.envs / named, kept)
    publish(place, named, root)
    change(place, named)
    publish(place, named, root)
    shutil.rmtree(place.envs / named)
    kept.rename(place.envs / named)

    third = publish(place, named, root)
    assert third["version"]["number"] == 3


def test_old_versions_go_when_nobody_needs_them(place: Place, named: str, root: Path) -> None:
    publish(place, named, root)
    first = (root / named).resolve()
    program = [str(first / "bin" / "python"), "-c", "input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE):  # which ends as the pipe is closed
        change(place, named)
        publish(place, named, root)
        change(place, named)
        used = publish(place, named, root, "--keep", "0", "--keep-for", "0")

    assert [item["number"] for item in used["removed"]] == [2]
    assert [(item["number"], "uses it" in item["reason"]) for item in used["kept"]] == [(1, True)]
    listed = place.good("rollback", named, "--root", root, "--list").out
    assert [line.split()[0] for line in listed.splitlines()] == ["1", "*"]

    later = publish(place, named, root, "--keep", "0")
    assert "not long ago" in later["kept"][0]["reason"]
    gone = publish(place, named, root, "--keep", "0", "--keep-for", "0")
    assert [item["number"] for item in gone["removed"]] == [1]
    assert sorted(path.name[:4] for path in (root / ".versions" / named).iterdir()) == [
        ".loc", "0003", "0003", "0003",
    ]  # fmt: skip


def test_what_has_problems_is_not_switched_to(place: Place, named: str, root: Path) -> None:
    publish(place, named, root)
    change(place, named)
    broken = {"STUB_TORCH_IMPORT": "fails"}
    before = (root / named).resolve()
    done = place.run("install", named, "--publish", root, "--require-gpu", env=broken)

    assert done.status in {3, 5}
    assert (root / named).resolve() == before
    assert publish(place, named, root)["version"]["number"] == 2


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_somebody_else_put_there_stays(
    place: Place, named: str, root: Path, kind: str
) -> None:
    path = root / named
    if kind == "folder":
        (path / "mine").mkdir(parents=True)
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to("/usr")
    done = place.run("install", named, "--publish", root)

    assert done.status == 5
    assert "publishing did not make" in done.err
    assert not (root / ".versions").exists()


def test_a_root_that_others_may_write_is_refused(place: Place, named: str, root: Path) -> None:
    root.chmod(0o777)
    done = place.run("install", named, "--publish", root)
    assert done.status == 5
    assert "chmod go-w" in done.err
    missing = place.run("install", named, "--publish", root / "no")
    assert (missing.status, "mkdir -p" in missing.err) == (5, True)


def test_nothing_of_ours_changes_what_is_frozen(published: Published) -> None:
    """The environment's lock is not that of its first version any more."""
    for command in (("install", published.name), ("remove", published.name, "--yes")):
        done = published.place.run(*command, "--prefix", published.first)
        assert (done.status, "frozen" in done.err) == (5, True), done.err


def test_pip_refuses_to_write(published: Published) -> None:
    """PEP 668, as pip itself reads it where it is no virtual environment's."""
    [library] = freezing.standard_libraries(published.second)
    script = (
        "import sysconfig; from pip._internal.utils import misc;"
        "misc.running_under_virtualenv = lambda: False;"
        f"sysconfig.get_path = lambda *a, **k: {str(library)!r};"
        "\ntry: misc.check_externally_managed()"
        "\nexcept Exception as error: print(type(error).__name__, error.context)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "ExternallyManagedEnvironment" in done.stdout, done.stderr
    assert f"{published.link} is published for everybody" in done.stdout


@needs_root
def test_another_user_reads_all_and_writes_nothing(published: Published) -> None:
    """Whatever umask it was published with."""
    for folder in (published.root, *published.root.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path(folder.anchor):
            folder.chmod(folder.stat().st_mode | 0o055)
    prefix = published.second
    script = f"""
import os, sys
unread = [f"{{d}}/{{n}}" for d, _, names in os.walk({str(prefix)!r}) for n in names
          if not os.path.islink(f"{{d}}/{{n}}") and not os.access(f"{{d}}/{{n}}", os.R_OK)]
written = [d for d, _, _ in os.walk({str(prefix)!r}) if os.access(d, os.W_OK)]
import torch
print(len(unread), len(written), os.path.realpath(torch.__file__).startswith({str(prefix)!r}))
"""
    done = subprocess.run(
        [published.link / "bin" / "python", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        cwd="/",
    )
    assert done.stdout.split() == ["0", "0", "True"], done.stderr


def test_the_package_cache_keeps_its_modes(published: Published) -> None:
    """Files are hardlinked from it: what is taken from them is taken from every environment."""
    assert stat.S_IMODE(published.shared.stat().st_mode) == 0o664
    [mine] = published.second.glob("lib/python3*/site-packages/torch/__init__.py")
    assert stat.S_IMODE(mine.stat().st_mode) == 0o644


def test_whoever_looks_always_finds_an_environment(published: Published) -> None:
    misses, ended = [], threading.Event()

    def look() -> None:
        while not ended.is_set():
            if not (published.link / "conda-meta" / "history").is_file():
                misses.append(time.monotonic())

    reader = threading.Thread(target=look)
    reader.start()
    root = PublishedRoot(published.root, published.name)
    first, second = root.versions()
    for _ in range(100):
        root.switch(first)
        root.switch(second)
    ended.set()
    reader.join()
    assert not misses


def test_a_kill_leaves_the_old_version_in_use(place: Place, named: str, root: Path) -> None:
    publish(place, named, root)
    change(place, named)
    for seconds in (0.5, 1.0, 1.6):
        process = place.start("install", named, "--publish", root)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert (root / named / "conda-meta" / "history").is_file()

    done = publish(place, named, root)
    assert done["version"]["number"] == 2
    names = {path.name.partition("-")[0] for path in (root / ".versions" / named).iterdir()}
    assert names == {".lock", "0001", "0002"}
    assert place.run("verify", "--prefix", root / named).status == 0


@covers("published-unprotected")
def test_verify_finds_what_protects_it_no_more(published: Published) -> None:
    prefix = published.second
    healthy = published.place.run("verify", "--prefix", published.link, "--level", "static")
    assert healthy.status == 0, healthy.out

    for path, said in (
        (prefix / "conda-meta" / "frozen", "conda-meta/frozen"),
        (freezing.standard_libraries(prefix)[0] / freezing.MANAGED, "EXTERNALLY-MANAGED"),
    ):
        path.parent.chmod(0o755)
        aside = path.rename(path.with_name("aside"))
        path.parent.chmod(0o555)
        assert said in _problem(published)
        path.parent.chmod(0o755)
        aside.rename(path)
        path.parent.chmod(0o555)
    (prefix / "bin").chmod(0o755)
    assert "somebody may write bin" in _problem(published)
    (prefix / "bin").chmod(0o555)


def _problem(published: Published) -> str:
    done = published.place.run("verify", "--prefix", published.link, "--level", "static", "--json")
    assert done.status == 1
    [finding] = done.json["reports"][0]["findings"]
    assert finding["check"] == "published-unprotected"
    assert finding["remedy"] == f"envforge install {published.name} --publish {published.root}"
    return str(finding["seen"])
