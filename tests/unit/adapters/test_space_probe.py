from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.channel_server import serve
from fakes.installing import conda_package, make_settings, wheel

from envforge.adapters import space_probe
from envforge.adapters.space_probe import RealSpace
from envforge.model.lock import LockedPackage
from envforge.model.prefix import ArchiveFacts


def probe(folder: Path, **given: object) -> RealSpace:
    return RealSpace(make_settings(folder, **given), folder / "uv")


def test_the_disk_of_a_folder_that_is_still_to_be_made(tmp_path: Path) -> None:
    disk = probe(tmp_path).disk(tmp_path / "not" / "yet")

    facts = os.statvfs(tmp_path)
    assert disk.device == tmp_path.stat().st_dev
    assert disk.path == str(tmp_path)
    assert 0 < disk.free_bytes <= facts.f_blocks * facts.f_frsize
    assert disk.free_inodes is None or disk.free_inodes > 0


def test_filesystems_without_fixed_inodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """btrfs says zero of zero."""
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[5:8] = [0, 0, 0]  # files, free, available
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert probe(tmp_path).disk(tmp_path).free_inodes is None


def test_the_caches(tmp_path: Path) -> None:
    assert probe(tmp_path).caches() == (tmp_path / "pkgs", tmp_path / "uv")


def at(url: str, name: str = "numpy") -> LockedPackage:
    return conda_package(name, url=f"{url}/conda-forge/linux-64/{name}-1.0-0.conda")


def test_sizes_of_files_are_looked_up(tmp_path: Path) -> None:
    archive = tmp_path / "channel" / "linux-64" / "numpy-1.0-0.conda"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"x" * 123)
    package = conda_package("numpy", url=archive.as_uri())
    gone = conda_package("gone", url=archive.with_name("gone-1.0-0.conda").as_uri())
    local = wheel("torch")
    known = conda_package("known", size=5)

    facts = probe(tmp_path, offline=True).archives([package, gone, local, known], measure=True)

    assert facts == {
        package.url: ArchiveFacts(size=123),
        gone.url: ArchiveFacts(),
        known.url: ArchiveFacts(size=5),
    }


def test_a_channel_that_is_not_there_is_left_for_the_install_to_say(tmp_path: Path) -> None:
    missing = conda_package("x", url="file:///nowhere/channel/linux-64/x-1.0-0.conda")
    assert probe(tmp_path).archives([missing], measure=True) == {}


def test_cached_packages_are_measured(tmp_path: Path) -> None:
    package = conda_package("numpy")
    info = tmp_path / "pkgs" / "numpy-1.0-0" / "info"
    info.mkdir(parents=True)
    (info / "index.json").write_text("{}")
    (info / "paths.json").write_text('{"_path": "a", "size_in_bytes": 9}')
    lock = tmp_path / "pkgs" / "numpy-1.0-0.lock"
    lock.write_bytes(bytes(8) + bytes.fromhex(package.sha256))

    [facts] = probe(tmp_path).archives([package], measure=True).values()

    assert facts == ArchiveFacts(cached=True, size=0, unpacked_bytes=9, files=1)


def test_servers_are_asked_for_what_nobody_else_knows(tmp_path: Path) -> None:
    folder = tmp_path / "channels" / "conda-forge" / "linux-64"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"p{number}-1.0-0.conda").write_bytes(b"x" * number)
    with serve(tmp_path / "channels") as server:
        packages = [at(server.url, f"p{number}") for number in range(22)]
        facts = probe(tmp_path).archives(packages, measure=True)
        offline = probe(tmp_path, offline=True).archives(packages, measure=True)

    assert [facts[item.url].size for item in packages[:20]] == list(range(20))
    assert packages[20].url not in facts  # 404: the install says so
    assert offline == {}
    assert all(server.count(f"p{number}-1.0-0.conda") == 1 for number in range(22))


def test_a_slow_server_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space_probe, "_PATIENCE", 0.2)
    (tmp_path / "conda-forge" / "linux-64").mkdir(parents=True)
    (tmp_path / "conda-forge" / "linux-64" / "numpy-1.0-0.conda").write_bytes(b"x" * 100)
    with serve(tmp_path) as server:
        server.faults["numpy-1.0-0.conda"] = "slow-head"
        server.delay = 0.6
        assert probe(tmp_path).archives([at(server.url)], measure=True) == {}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/c/linux-64/x-1.0-0.conda", "s3://b/c/x/y"])
def test_what_cannot_be_asked_is_estimated(tmp_path: Path, url: str) -> None:
    assert probe(tmp_path).archives([conda_package("x", url=url)], measure=True) == {}
