"""The whole way from a lock to a prefix and back, interrupted at any moment, on real parts."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.channel_server import ChannelServer
from fakes.installing import RecordingReporter, lock_of, make_settings, real_tools
from fakes.local_channel import LocalChannel
from fakes.wheels import build_wheel

from envforge.adapters.conda_registry import registered
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.prefix_reader import read_prefix, read_state
from envforge.adapters.process import RealProcesses
from envforge.adapters.uv import Uv
from envforge.adapters.uv_installer import UvInstaller
from envforge.errors import (
    BrokenPrefix,
    CorruptArchive,
    InvalidFile,
    NoSuchEnvironment,
    NotEnoughSpace,
    Unreachable,
)
from envforge.install.install import InstallRequest, install, remove
from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstallResult, PrefixState

REPOSITORY = Path(__file__).parents[2]
FULL = (("greeter", "1.2"), "pip", "placeheld", "python", "scripted")


def request(packages: Sequence[LockedPackage], prefix: Path, **given: Any) -> InstallRequest:
    return InstallRequest(
        lock=lock_of(*packages),
        environment=prefix.name,
        platform=packages[0].platform,
        prefix=prefix,
        **given,
    )


def run(
    folder: Path, packages: Sequence[LockedPackage], prefix: Path, **given: Any
) -> InstallResult:
    settings = given.pop("settings", {})
    reporter = given.pop("reporter", None)
    tools = real_tools(make_settings(folder, **settings), reporter)
    return install(request(packages, prefix, **given), tools)


@pytest.fixture
def packages(local_channel: LocalChannel) -> tuple[LockedPackage, ...]:
    return local_channel.locked(*FULL, base=local_channel.root.as_uri())


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "envs" / "demo"


def output(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_environment_is_an_ordinary_one(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    reporter = RecordingReporter()
    result = run(
        tmp_path,
        packages,
        prefix,
        variables={"GREETING": "it's"},
        requested=("python=3.11",),
        wait_for_bytecode=True,
        reporter=reporter,
    )

    assert result.link_mode == "hardlink"
    assert result.downloaded == len(packages)
    assert result.bytecode == "compiled"
    assert result.skipped_scripts == ("scripted",)
    assert read_state(prefix) is PrefixState.INSTALLED
    assert output(prefix / "bin" / "greet") == "hello\n"
    assert "No broken requirements" in output(prefix / "bin" / "python", "-m", "pip", "check")
    listed = json.loads(output(prefix / "bin" / "pip", "list", "--format", "json"))
    assert {"greeter", "pip"} <= {item["name"] for item in listed}
    history = (prefix / "conda-meta" / "history").read_text()
    assert "conda-forge/noarch::greeter-1.2-pyh0_0" in history
    assert '# update specs: ["python=3.11"]' in history
    state = json.loads((prefix / "conda-meta" / "state").read_text())
    assert state == {"env_vars": {"GREETING": "it's"}}
    assert registered(tmp_path / "home") == (prefix,)
    [module] = (prefix / "lib").rglob("greeter/__init__.py")
    assert list((module.parent / "__pycache__").glob("*.pyc"))
    assert "`scripted`" in reporter.warnings[0]


def test_the_second_install_has_nothing_to_do(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    run(tmp_path, packages, prefix)
    before = {path: path.stat().st_mtime_ns for path in (prefix / "conda-meta").iterdir()}

    result = run(tmp_path, packages, prefix, settings={"offline": True})

    assert result.plan.is_empty
    assert result.plan.keep == len(packages)
    assert {path: path.stat().st_mtime_ns for path in (prefix / "conda-meta").iterdir()} == before


def test_a_difference_is_repaired_by_the_smallest_transaction(
    local_channel: LocalChannel,
    packages: tuple[LockedPackage, ...],
    tmp_path: Path,
    prefix: Path,
) -> None:
    run(tmp_path, packages, prefix, variables={"OLD": "1"})
    inode = (prefix / "share/placeheld/plain.txt").stat().st_ino
    changed = ("greeter", "1.3")
    after = local_channel.locked(
        changed, "pip", "placeheld", "python", base=local_channel.root.as_uri()
    )

    result = run(tmp_path, after, prefix, variables={"NEW": "2"})

    assert [(old.version, new.version) for old, new in result.plan.change] == [("1.2", "1.3")]
    assert [item.name for item in result.plan.remove] == ["scripted"]
    assert result.plan.keep == 3
    assert output(prefix / "bin" / "greet") == "hello again\n"
    assert (prefix / "share/placeheld/plain.txt").stat().st_ino == inode
    state = json.loads((prefix / "conda-meta" / "state").read_text())
    assert state == {"env_vars": {"NEW": "2"}}
    assert "-conda-forge/noarch::greeter-1.2" in (prefix / "conda-meta" / "history").read_text()


def test_remove_leaves_nothing(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    """Not even where a process that compiles in the background is still at it."""
    run(tmp_path, packages, prefix)
    tools = real_tools(make_settings(tmp_path))

    remove(prefix, tools)

    assert registered(tmp_path / "home") == ()
    time.sleep(0.3)
    assert list(prefix.parent.iterdir()) == []
    with pytest.raises(NoSuchEnvironment):
        remove(prefix, tools)


def test_what_is_not_ours_is_left_alone(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    tools = real_tools(make_settings(tmp_path))
    prefix.mkdir(parents=True)
    (prefix / "thesis.tex").write_text("years")
    for action in (
        lambda: install(request(packages, prefix), tools),
        lambda: remove(prefix, tools),
    ):
        with pytest.raises(BrokenPrefix, match="no environment"):
            action()
    assert [path.name for path in prefix.iterdir()] == ["thesis.tex"]


def test_an_environment_of_conda_is_used_as_it_is_or_not_at_all(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    run(tmp_path, packages, prefix)
    (prefix / "conda-meta" / "envforge-install").unlink()
    assert read_state(prefix) is PrefixState.FOREIGN

    assert run(tmp_path, packages, prefix).plan.is_empty
    with pytest.raises(BrokenPrefix, match="did not make"):
        run(tmp_path, packages[1:], prefix)
    with pytest.raises(BrokenPrefix, match="did not make"):
        remove(prefix, real_tools(make_settings(tmp_path)))


def test_a_broken_record_is_mended(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    """Its dist-info looks like a stray wheel by then, and must not be taken out as one."""
    run(tmp_path, packages, prefix)
    [record] = (prefix / "conda-meta").glob("greeter*.json")
    record.write_text("{")

    result = run(tmp_path, packages, prefix)

    assert [item.name for item in result.plan.add] == ["greeter"]
    is_whole(prefix, packages)


def test_damaged_files_are_mended(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    run(tmp_path, packages, prefix)
    (prefix / "share" / "placeheld" / "plain.txt").unlink()

    result = run(tmp_path, packages, prefix)

    assert [new.name for _, new in result.plan.change] == ["placeheld"]
    is_whole(prefix, packages)


def test_a_broken_record_of_a_foreign_environment_is_named(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    run(tmp_path, packages, prefix)
    (prefix / "conda-meta" / "envforge-install").unlink()
    [record] = (prefix / "conda-meta").glob("greeter*.json")
    record.write_text("{")
    with pytest.raises(InvalidFile, match="greeter"):
        run(tmp_path, packages, prefix)


def test_a_corrupt_archive_leaves_it_incomplete_and_a_mended_one_finishes_it(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("placeheld", "scripted", base=channel_server.url)
    channel_server.faults["scripted-1.0-0.conda"] = "html"
    with pytest.raises(CorruptArchive):
        run(tmp_path, packages, prefix)
    assert read_state(prefix) is PrefixState.INCOMPLETE

    channel_server.faults.clear()
    run(tmp_path, packages, prefix)
    assert read_state(prefix) is PrefixState.INSTALLED


def test_offline_writes_nothing_where_something_is_missing(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("scripted", base=channel_server.url)
    with pytest.raises(Unreachable):
        run(tmp_path, packages, prefix, settings={"offline": True})
    assert not prefix.exists()


def test_two_at_once_do_the_work_once(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked(*FULL, base=channel_server.url)
    results: list[InstallResult] = []
    reporters = [RecordingReporter(), RecordingReporter()]
    threads = [
        threading.Thread(
            target=lambda one=one: results.append(run(tmp_path, packages, prefix, reporter=one))
        )
        for one in reporters
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(item.plan.is_empty for item in results) == [False, True]
    notes = [note for one in reporters for note in one.notes]
    assert any(f"process {os.getpid()}" in note for note in notes)
    assert registered(tmp_path / "home") == (prefix,)


PROGRAM = """
    import pickle, sys
    from pathlib import Path
    sys.path[:0] = pickle.load(sys.stdin.buffer)
    from envforge.install.install import install
    from fakes.installing import make_settings, real_tools
    folder, request = pickle.load(sys.stdin.buffer)
    print("begins", flush=True)
    install(request, real_tools(make_settings(folder)))
    print("done", flush=True)
"""


def start(folder: Path, wanted: InstallRequest) -> subprocess.Popen[bytes]:
    """The install in a process of its own, which has got as far as beginning."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pickle.dumps([str(REPOSITORY), str(REPOSITORY / "tests")]))
    process.stdin.write(pickle.dumps((folder, wanted)))
    process.stdin.close()
    assert process.stdout.readline() == b"begins\n"
    return process


def is_whole(prefix: Path, packages: Sequence[LockedPackage]) -> None:
    """Complete by every measure: state, records, files, hashes, and it runs."""
    contents = read_prefix(prefix)
    assert contents.state is PrefixState.INSTALLED
    assert {item.sha256 for item in contents.packages} == {item.sha256 for item in packages}
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text())
        assert record["url"].startswith("file:")
        assert record["license"]
        for item in record["paths_data"]["paths"]:
            assert os.path.lexists(prefix / item["_path"]), item["_path"]
    assert output(prefix / "bin" / "greet") == "hello\n"
    assert "No broken" in output(prefix / "bin" / "python", "-m", "pip", "check")


@pytest.mark.parametrize("moment", range(5))
def test_killed_at_any_moment_the_same_call_finishes_it(
    moment: int, packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    """kill -9, at moments spread over an install: never good before its end, always whole after."""
    wanted = request(packages, prefix)
    process = start(tmp_path, wanted)
    time.sleep(random.Random(moment).uniform(0, 0.06) + moment * 0.1)
    process.kill()
    assert process.stdout is not None
    ended = b"done" in process.stdout.read()
    process.stdout.close()
    process.wait()

    if ended or read_state(prefix) is PrefixState.INSTALLED:
        is_whole(prefix, packages)  # good by its own word, so it has to be
    run(tmp_path, packages, prefix)
    is_whole(prefix, packages)


def test_killed_while_changing_the_same_call_finishes_it(
    local_channel: LocalChannel,
    packages: tuple[LockedPackage, ...],
    tmp_path: Path,
    prefix: Path,
) -> None:
    """The harder half: files of the old version go before those of the new one come."""
    others = local_channel.locked(("greeter", "1.3"), "python", base=local_channel.root.as_uri())
    for moment in range(4):
        wanted = others if moment % 2 == 0 else packages
        process = start(tmp_path, request(wanted, prefix))
        time.sleep(0.05 + 0.07 * moment)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    run(tmp_path, packages, prefix)
    is_whole(prefix, packages)


def test_files_that_an_interruption_took_are_put_back(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    """As left by a kill in the middle of unlinking: the record is there, its files are not."""
    run(tmp_path, packages, prefix)
    marker = prefix / "conda-meta" / "envforge-install"
    marker.write_text(marker.read_text().replace('"complete"', '"incomplete"'))
    shutil.rmtree(prefix / "share" / "placeheld")
    [record] = (prefix / "conda-meta").glob("greeter*.json")
    record.write_text(record.read_text()[:100])

    result = run(tmp_path, packages, prefix)

    assert [new.name for _, new in result.plan.change] == ["placeheld"]
    assert [item.name for item in result.plan.add] == ["greeter"]
    is_whole(prefix, packages)


def test_a_small_disk_is_seen_before_the_first_byte(
    local_channel: LocalChannel, tmp_path: Path
) -> None:
    """On a tmpfs of a few megabytes, in a mount namespace of our own."""
    small = tmp_path / "small"
    small.mkdir()
    mount = f"mount -t tmpfs -o size=8m,nr_inodes=100 tmpfs {small}"
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare program")
    tried = subprocess.run([*unshare, "sh", "-c", mount], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip("no user namespaces here")
    base = local_channel.root.as_uri()
    program = f"""
        import pickle, sys
        sys.path[:0] = {[str(REPOSITORY), str(REPOSITORY / "tests")]!r}
        from pathlib import Path
        from envforge.errors import NotEnoughSpace
        from envforge.install.install import install
        from fakes.installing import make_settings, real_tools
        folder, request = pickle.load(sys.stdin.buffer)
        try:
            install(request, real_tools(make_settings(folder, package_cache=folder / "pkgs")))
        except NotEnoughSpace as error:
            print(error.resource, len(list(folder.iterdir())))
    """
    wanted = request(local_channel.locked("python", base=base), small / "env")
    done = subprocess.run(
        [
            *unshare,
            "sh",
            "-c",
            f'{mount} && exec "$0" -c "$1"',
            sys.executable,
            textwrap.dedent(program),
        ],
        input=pickle.dumps((small, wanted)),
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"bytes 0\n", done.stderr


def test_a_forecast_is_not_below_what_is_used(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    """What was written into cache and prefix is within what was forecast."""
    result = run(tmp_path, packages, prefix)

    def used(folder: Path) -> tuple[int, int]:
        seen = {}
        for where, folders, names in os.walk(folder):
            for name in (*folders, *names):
                facts = Path(where, name).lstat()
                seen[facts.st_ino] = facts.st_size if name in names else 0
        return sum(seen.values()), len(seen)

    cache_bytes, cache_inodes = used(tmp_path / "pkgs")
    assert result.forecast.cache_bytes >= cache_bytes
    assert result.forecast.estimated == 0
    assert result.forecast.inodes >= cache_inodes / 2


def test_what_does_not_fit_is_refused(
    packages: tuple[LockedPackage, ...], tmp_path: Path, prefix: Path
) -> None:
    huge = replace(packages[0], size=10**15)
    with pytest.raises(NotEnoughSpace, match="are needed"):
        run(tmp_path, [huge], prefix)
    assert not prefix.exists()


@pytest.fixture
def wheels(tmp_path: Path) -> UvInstaller:
    """uv with a cache of its own and an index that does not answer: all comes from files."""
    environment = {"PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(tmp_path / "cache" / "uv")}
    settings = PipSettings(index_url="http://127.0.0.1:9/simple")
    return UvInstaller(
        Uv(processes=RealProcesses(), environment=environment, settings=settings, offline=True)
    )


def locked_wheel(folder: Path, version: str, platform: str) -> LockedPackage:
    path = build_wheel(folder, "whistle", version, scripts={"whistle": "whistle:__name__.strip"})
    return LockedPackage(
        platform=platform,
        name="whistle",
        manager="pip",
        version=version,
        url=path.as_uri(),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def version_of_whistle(prefix: Path) -> str:
    program = "import whistle; print(whistle.__version__)"
    return output(prefix / "bin" / "python", "-c", program).strip()


def test_wheels_come_change_are_mended_and_go(
    local_channel: LocalChannel, tmp_path: Path, prefix: Path, wheels: UvInstaller
) -> None:
    conda = local_channel.locked("pip", "python", base=local_channel.root.as_uri())
    old, new = (locked_wheel(tmp_path / "w", v, local_channel.subdir) for v in ("1.0", "2.0"))
    tools = real_tools(make_settings(tmp_path), wheels=wheels)
    info = f"lib/python{local_channel.python}/site-packages/whistle-2.0.dist-info"

    first = install(request([*conda, old], prefix, wait_for_bytecode=True), tools)
    assert version_of_whistle(prefix) == "1.0"
    assert first.forecast.wheel_cache_bytes > 0
    [pyc] = prefix.rglob("whistle/__pycache__/*.pyc")
    assert pyc.is_file()
    assert install(request([*conda, old], prefix), tools).plan.is_empty

    changed = install(request([*conda, new], prefix), tools)
    assert version_of_whistle(prefix) == "2.0"
    assert len(changed.plan.change) == 1

    for harm in ("RECORD", "METADATA", "../whistle/__init__.py"):
        (prefix / info / harm).unlink()
        mended = install(request([*conda, new], prefix), tools)
        assert version_of_whistle(prefix) == "2.0"
        assert not mended.plan.is_empty
        assert (prefix / info / "RECORD").is_file()

    output(prefix / "bin" / "python", "-m", "pip", "check")
    install(request(conda, prefix), tools)
    assert not (prefix / "bin" / "whistle").exists()
    assert read_prefix(prefix).state is PrefixState.INSTALLED


def test_a_tampered_wheel_is_refused(
    local_channel: LocalChannel, tmp_path: Path, prefix: Path, wheels: UvInstaller
) -> None:
    conda = local_channel.locked("python", base=local_channel.root.as_uri())
    honest = locked_wheel(tmp_path / "w", "1.0", local_channel.subdir)
    tools = real_tools(make_settings(tmp_path), wheels=wheels)
    with pytest.raises(CorruptArchive, match=r"whistle-1\.0"):
        install(request([*conda, replace(honest, sha256="0" * 64)], prefix), tools)
    assert read_state(prefix) is PrefixState.INCOMPLETE

    install(request([*conda, honest], prefix), tools)
    assert version_of_whistle(prefix) == "1.0"
