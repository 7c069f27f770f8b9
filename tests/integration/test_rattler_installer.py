"""The real installer against real channels: from files, over HTTP, and lied to."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.channel_server import ChannelServer, Fault
from fakes.installing import make_settings
from fakes.local_channel import LocalChannel, without_details

from envforge.adapters import package_cache
from envforge.adapters.pack.download import Downloads
from envforge.adapters.rattler_installer import RattlerInstaller
from envforge.errors import (
    CorruptArchive,
    EnvforgeError,
    FileNotUsable,
    ToolFailed,
    Unreachable,
)
from envforge.model.lock import LockedPackage
from envforge.ports import LinkOutcome

SMALL = (("greeter", "1.2"), "placeheld", "python", "scripted")


def quiet(*_: object) -> None:
    """Progress that nobody looks at."""


def link(
    folder: Path, packages: tuple[LockedPackage, ...], prefix: Path, **given: Any
) -> LinkOutcome:
    options = {
        name: given.pop(name) for name in ("reinstall", "resume", "progress") if name in given
    }
    return RattlerInstaller(make_settings(folder, **given)).link(
        packages, prefix, platform=packages[0].platform, **{"progress": quiet, **options}
    )


def records(prefix: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in (prefix / "conda-meta").glob("*.json")]
    return {item["name"]: item for item in found}


@pytest.fixture
def base(local_channel: LocalChannel) -> str:
    return local_channel.root.as_uri()


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return tmp_path / "envs" / "demo"


def test_a_prefix_from_files(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    """Entry points run, placeholders hold the prefix, links are links, and nothing else came."""
    reports: list[tuple[Any, ...]] = []
    outcome = link(
        tmp_path,
        local_channel.locked(*SMALL, base=base),
        prefix,
        progress=lambda *report: reports.append(report),
    )

    greeting = subprocess.run(
        [prefix / "bin" / "greet"], capture_output=True, text=True, check=True
    )
    assert greeting.stdout == "hello\n"
    told = subprocess.run(
        [prefix / "bin" / "placeheld"], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{prefix}/share/placeheld\n"
    binary = (prefix / "lib" / "placeheld.bin").read_bytes()
    assert binary.startswith(b"\x7fBIN\0" + os.fsencode(prefix) + b"/lib\0")
    assert binary.endswith(b"after\0")
    assert (prefix / "share" / "placeheld" / "link.txt").readlink() == Path("plain.txt")
    assert not (prefix / "CACHEDIR.TAG").exists()
    assert not (prefix / "share" / "scripted" / "ran").exists()
    assert outcome == LinkOutcome(link_mode="hardlink", downloaded=4, skipped_scripts=("scripted",))
    assert reports[0][1:3] == (4, "packages")
    assert reports[-1][:2] == (4, 4)


def test_the_second_prefix_is_made_of_the_same_inodes(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("placeheld", base=base)
    other = prefix.with_name("other")
    assert link(tmp_path, packages, prefix).downloaded == 1
    assert link(tmp_path, packages, other).downloaded == 0

    plain = "share/placeheld/plain.txt"
    assert (prefix / plain).stat().st_ino == (other / plain).stat().st_ino
    rewritten = "bin/placeheld"
    assert (prefix / rewritten).stat().st_ino != (other / rewritten).stat().st_ino


@pytest.mark.parametrize("lock", [lambda packages: packages, without_details])
def test_records_are_what_conda_would_leave(
    lock: Callable[[tuple[LockedPackage, ...]], tuple[LockedPackage, ...]],
    local_channel: LocalChannel,
    tmp_path: Path,
    prefix: Path,
) -> None:
    """Fetched or cached, from a rich lock or a poor one, read from a mirror: the same record."""
    cuda = local_channel.cuda_build
    packages = lock(local_channel.locked(("pytorch", cuda), *SMALL))
    mirror = {"mirror": str(local_channel.root)}
    link(tmp_path, packages, prefix, **mirror)
    first = records(prefix)

    torch, greeter = first["pytorch"], first["greeter"]
    assert torch["url"] == next(item.url for item in packages if item.name == "pytorch")
    assert torch["channel"] == "https://conda.anaconda.org/pytorch"
    assert "pytorch-mutex 1.0 cuda" in torch["depends"]
    assert torch["constrains"] == ["cpuonly <0"]
    assert (
        torch["sha256"]
        == hashlib.sha256(local_channel.archive("pytorch", cuda).read_bytes()).hexdigest()
    )
    assert len(torch["md5"]) == 32
    assert (torch["license"], torch["timestamp"]) == ("BSD-3-Clause", 1_600_000_000_000)
    assert greeter["noarch"] == "python"
    assert greeter["constrains"] == ["loud-greeter <1"]
    assert "track_features" in first["placeheld"]
    modes = {path.stat().st_mode & 0o777 for path in (prefix / "conda-meta").glob("*.json")}
    umask = os.umask(0o022)
    os.umask(umask)
    assert modes == {0o666 & ~umask}

    other = prefix.with_name("demo2")  # as long as the first, so rewritten files differ least
    link(tmp_path, packages, other, **mirror)
    for name, record in records(other).items():
        for key in set(record) - {"paths_data"}:
            assert record[key] == first[name][key], (name, key)


def test_every_file_is_recorded_with_its_hash(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    link(tmp_path, local_channel.locked("placeheld", base=base), prefix)
    described = records(prefix)["placeheld"]["paths_data"]["paths"]
    for item in described:
        path = prefix / item["_path"]
        if item["path_type"] == "hardlink":
            expected = item.get("sha256_in_prefix") or item["sha256"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == expected
    assert len(described) == len(records(prefix)["placeheld"]["files"]) == 7


def test_a_prefix_over_http(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked(*SMALL, base=channel_server.url)
    assert link(tmp_path, packages, prefix).downloaded == 4
    assert channel_server.count(".conda") == 4
    assert set(records(prefix)) == {"greeter", "placeheld", "python", "scripted"}


def test_a_server_as_mirror_leaves_no_trace(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    link(tmp_path, local_channel.locked("scripted"), prefix, mirror=channel_server.url)
    assert channel_server.count("scripted-1.0-0.conda") == 1
    text = next((prefix / "conda-meta").glob("scripted*")).read_text()
    assert "https://conda.anaconda.org/conda-forge" in text
    assert channel_server.url not in text


def test_passwords_come_from_netrc_and_stay_there(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("scripted", base=channel_server.url)
    channel_server.password = "me:secret"  # noqa: S105
    with pytest.raises(Unreachable, match="login"):
        link(tmp_path, packages, prefix)

    home = tmp_path / "home"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    environment = {**os.environ, "HOME": str(home)}
    link(tmp_path, packages, prefix, environment=environment)

    assert "scripted" in records(prefix)
    everything = b"".join(
        path.read_bytes() for path in (prefix / "conda-meta").iterdir() if path.is_file()
    )
    assert b"secret" not in everything


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("404", Unreachable, "not there any more"),
        ("500", Unreachable, "server failed"),
        ("truncated", Unreachable, "broke off"),
        ("refuse", Unreachable, "connection closed"),
        ("wrong-bytes", CorruptArchive, "not what the lock names"),
        ("html", CorruptArchive, "not what the lock names"),
    ],
)
def test_a_server_that_fails_or_lies(  # noqa: PLR0917 - fixtures and parameters
    fault: Fault,
    kind: type[EnvforgeError],
    said: str,
    channel_server: ChannelServer,
    local_channel: LocalChannel,
    tmp_path: Path,
    prefix: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing of it gets into the prefix or stays in the cache, and the next try works."""
    monkeypatch.setattr(Downloads, "_pause", lambda *_: None)
    channel_server.ranges = False
    packages = local_channel.locked("placeheld", base=channel_server.url)
    channel_server.faults[".conda"] = fault

    with pytest.raises(kind, match=said) as caught:
        link(tmp_path, packages, prefix)

    assert "placeheld-1.0-0.conda" in str(caught.value)
    assert caught.value.hint
    assert records(prefix) == {}
    assert package_cache.not_cached(tmp_path / "pkgs", packages) == packages
    channel_server.faults.clear()
    link(tmp_path, packages, prefix)
    assert set(records(prefix)) == {"placeheld"}


@pytest.mark.parametrize("over_http", [True, False])
def test_a_valid_archive_of_other_bytes_is_refused(  # noqa: PLR0917 - fixtures
    over_http: bool,
    channel_server: ChannelServer,
    local_channel: LocalChannel,
    base: str,
    tmp_path: Path,
    prefix: Path,
) -> None:
    """rattler itself takes any file that unpacks: that one is checked by us."""
    address = channel_server.url if over_http else base
    [honest] = local_channel.locked("scripted", base=address)
    locked = replace(honest, sha256="0" * 64)

    with pytest.raises(CorruptArchive) as caught:
        link(tmp_path, (locked,), prefix)

    assert caught.value.expected == f"sha256 {'0' * 64}"
    assert caught.value.found == f"sha256 {honest.sha256}"
    assert records(prefix) == {}


def test_a_cached_package_of_that_name_is_no_excuse(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    [honest] = local_channel.locked("scripted", base=base)
    link(tmp_path, (honest,), prefix)
    with pytest.raises(CorruptArchive):
        link(tmp_path, (replace(honest, sha256="0" * 64),), prefix.with_name("other"))


def test_a_tampered_archive_is_refused(
    local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    archive = tmp_path / "channel" / "linux-64" / local_channel.archive("scripted").name
    archive.parent.mkdir(parents=True)
    archive.write_bytes(local_channel.archive("scripted").read_bytes())
    [package] = local_channel.locked("scripted")
    package = replace(package, url=archive.as_uri())
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))

    with pytest.raises(CorruptArchive):
        link(tmp_path, (package,), prefix)
    archive.unlink()
    with pytest.raises(Unreachable, match="no such file"):
        link(tmp_path, (package,), prefix)


def test_nobody_answers(local_channel: LocalChannel, tmp_path: Path, prefix: Path) -> None:
    packages = local_channel.locked("scripted", base="http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="connection refused"):
        link(tmp_path, packages, prefix)


def test_offline_takes_what_is_cached_and_names_what_is_not(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("placeheld", "scripted", base=channel_server.url)
    link(tmp_path, packages[:1], prefix)
    channel_server.requests.clear()

    link(tmp_path, packages[:1], prefix.with_name("again"), offline=True)
    with pytest.raises(Unreachable, match=r"scripted-1\.0-0\.conda"):
        link(tmp_path, packages, prefix.with_name("more"), offline=True)

    assert channel_server.requests.total() == 0
    assert not prefix.with_name("more").exists()


def test_packages_change_and_go(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    link(tmp_path, local_channel.locked(*SMALL, base=base), prefix)
    after = local_channel.locked(("greeter", "1.3"), "python", base=base)
    link(tmp_path, after, prefix)

    assert {name: item["version"] for name, item in records(prefix).items()} == {
        "greeter": "1.3",
        "python": local_channel.python_full,
    }
    assert not (prefix / "share" / "placeheld").exists()


def test_a_damaged_package_is_put_in_again(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("placeheld", base=base)
    link(tmp_path, packages, prefix)
    (prefix / "share" / "placeheld" / "plain.txt").unlink()

    assert link(tmp_path, packages, prefix).link_mode == "none"
    assert not (prefix / "share" / "placeheld" / "plain.txt").exists()
    link(tmp_path, packages, prefix, reinstall=frozenset({"placeheld"}))
    assert (prefix / "share" / "placeheld" / "plain.txt").exists()


def test_after_an_interruption_records_are_completed(
    local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    """Killed between linking and completing, a record holds the mirror's address."""
    packages = local_channel.locked("placeheld")
    mirror = {"mirror": str(local_channel.root)}
    link(tmp_path, packages, prefix, **mirror)
    [path] = (prefix / "conda-meta").glob("*.json")
    whole = path.read_text()
    bare = json.loads(whole)
    bare.update(url="file:///mirror/linux-64/x.conda", channel="file:///mirror", license=None)
    path.write_text(json.dumps(bare, indent=2))
    path.chmod(0o600)

    link(tmp_path, packages, prefix, resume=True, **mirror)

    assert json.loads(path.read_text()) == json.loads(whole)
    assert path.stat().st_mode & 0o077


def test_scripts_run_where_they_may(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("scripted", base=base)
    outcome = link(tmp_path, packages, prefix, link_scripts=True)
    assert (prefix / "share" / "scripted" / "ran").read_text() == "ran\n"
    assert outcome.skipped_scripts == ()


def test_a_script_that_fails_is_an_error(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    with pytest.raises(ToolFailed, match="post-link script failed"):
        link(tmp_path, local_channel.locked("failing", base=base), prefix, link_scripts=True)


def test_another_filesystem_means_copies(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    memory = Path("/dev/shm")  # noqa: S108
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("shared memory is no filesystem of its own here")
    import tempfile

    with tempfile.TemporaryDirectory(dir=memory) as cache:
        packages = local_channel.locked("placeheld", base=base)
        outcome = link(tmp_path, packages, prefix, package_cache=Path(cache))
    assert outcome.link_mode == "copy"


def test_a_cache_that_cannot_be_written_is_named(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((FileNotUsable, ToolFailed)):
        link(
            tmp_path,
            local_channel.locked("scripted", base=base),
            prefix,
            package_cache=tmp_path / "file" / "pkgs",
        )


def test_we_know_the_cache_as_rattler_does(
    local_channel: LocalChannel, base: str, tmp_path: Path, prefix: Path
) -> None:
    """We read rattler's own files; should their layout change, this is where it shows."""
    packages = local_channel.locked(*SMALL, base=base)
    link(tmp_path, packages[1:3], prefix)
    program = (
        "import asyncio, json, os, sys; from pathlib import Path;"
        " from rattler.package_cache.package_cache import PackageCache;"
        " from envforge.adapters.rattler_records import make_record;"
        " import pickle; packages, cache = pickle.load(sys.stdin.buffer);"
        " index = asyncio.run(PackageCache(cache).index());"
        " print([index.contains_record(make_record(p, cache, p.url)) for p in packages],"
        " flush=True); os._exit(0)"
    )
    import pickle

    cache = tmp_path / "pkgs"
    asked = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((packages, cache)),
        capture_output=True,
        check=True,
    )
    assert json.loads(asked.stdout.lower()) == [False, True, True, False]
    assert [package_cache.is_cached(cache, item) for item in packages] == [False, True, True, False]


def test_two_processes_fill_one_cache(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked(*SMALL, base=channel_server.url)
    prefixes = [prefix.with_name(f"env{number}") for number in range(3)]
    errors: list[BaseException] = []

    def run(place: Path) -> None:
        try:
            link(tmp_path, packages, place)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in prefixes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert {len(records(place)) for place in prefixes} == {4}
    assert channel_server.count(".conda") == 4


def children(of: int) -> list[int]:
    listed = Path(f"/proc/{of}/task/{of}/children").read_text().split()
    return [int(process) for process in listed]


def test_an_interruption_ends_the_work_at_once(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("python", base=channel_server.url)
    channel_server.faults[".conda"] = "slow"
    channel_server.delay = 1.0
    before = set(children(os.getpid()))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link(tmp_path, packages, prefix, progress=interrupt)

    assert set(children(os.getpid())) == before


def test_a_child_that_dies_is_an_error_with_a_way_on(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    packages = local_channel.locked("python", base=channel_server.url)
    channel_server.faults[".conda"] = "slow"
    before = set(children(os.getpid()))

    def kill(*_: object) -> None:
        for process in set(children(os.getpid())) - before:
            os.kill(process, signal.SIGKILL)

    with pytest.raises(ToolFailed, match="died") as caught:
        link(tmp_path, packages, prefix, progress=kill)
    assert "same command" in str(caught.value.hint)


def test_the_work_ends_with_its_caller(
    channel_server: ChannelServer, local_channel: LocalChannel, tmp_path: Path, prefix: Path
) -> None:
    """However the caller goes: nobody writes on into a prefix that somebody else may have."""
    import pickle

    packages = local_channel.locked("python", base=channel_server.url)
    channel_server.faults[".conda"] = "slow"
    channel_server.delay = 2.0
    program = (
        "import pickle, sys; from envforge.adapters.rattler_installer import RattlerInstaller;"
        " settings, packages, prefix = pickle.load(sys.stdin.buffer);"
        " RattlerInstaller(settings).link(packages, prefix, platform=packages[0].platform,"
        " progress=lambda *_: print('.', flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdin.write(pickle.dumps((make_settings(tmp_path), packages, prefix)))
        caller.stdin.close()
        assert caller.stdout.readline() == b".\n"
        [worker] = children(caller.pid)
        caller.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists():
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            break
        assert time.monotonic() < deadline
        time.sleep(0.01)
