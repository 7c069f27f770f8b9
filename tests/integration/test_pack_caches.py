"""What a pack brings is taken by rattler and uv as their own, with no network and no channel."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import make_settings
from fakes.local_channel import LocalChannel
from fakes.wheels import build_wheel, sha256

from envforge.adapters import package_cache
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.process import RealProcesses
from envforge.adapters.rattler_installer import RattlerInstaller
from envforge.adapters.uv import Uv
from envforge.adapters.uv_installer import UvInstaller
from envforge.adapters.wheelhouse import Wheelhouse
from envforge.errors import CorruptArchive, FileNotUsable
from envforge.model.lock import LockedPackage

SMALL = (("greeter", "1.2"), "placeheld", "python")


def archive_of(channel: LocalChannel, package: LockedPackage) -> Path:
    return channel.root / "conda-forge" / package.subdir / package.filename


def test_rattler_links_what_was_put_into_its_cache(
    local_channel: LocalChannel, tmp_path: Path
) -> None:
    """The addresses lead nowhere, and we are offline."""
    packages = local_channel.locked(*SMALL, base="http://127.0.0.1:9")
    settings = make_settings(tmp_path, offline=True)
    cache = settings.package_cache

    added = [package_cache.add(cache, p, archive_of(local_channel, p)) for p in packages]
    again = [package_cache.add(cache, p, archive_of(local_channel, p)) for p in packages]
    linked = RattlerInstaller(settings).link(
        packages, tmp_path / "px", platform=local_channel.subdir, progress=lambda *_: None
    )

    assert (added, again) == ([True] * 3, [False] * 3)
    assert (linked.downloaded, linked.link_mode) == (0, "hardlink")
    greeting = subprocess.run([tmp_path / "px/bin/greet"], capture_output=True, check=True)
    assert greeting.stdout == b"hello\n"
    assert [path.name for path in cache.iterdir() if path.name.endswith(".tmp")] == []


def test_another_build_takes_the_place_of_the_one_before(
    local_channel: LocalChannel, tmp_path: Path
) -> None:
    """Whoever saw the first knows by the number that it went."""
    [package] = local_channel.locked("placeheld")
    archive = archive_of(local_channel, package)
    other = replace(package, sha256="0" * 64)

    package_cache.add(tmp_path, other, archive)
    assert not package_cache.is_cached(tmp_path, package)
    package_cache.add(tmp_path, package, archive)

    assert package_cache.is_cached(tmp_path, package)
    assert not package_cache.is_damaged(tmp_path, package)
    lock = (tmp_path / f"{package_cache.stem(package)}.lock").read_bytes()
    assert int.from_bytes(lock[:8], "big") == 2


def test_what_does_not_unpack_leaves_nothing(tmp_path: Path, local_channel: LocalChannel) -> None:
    [package] = local_channel.locked("placeheld")
    broken = tmp_path / package.filename
    broken.write_bytes(b"PK not really")

    with pytest.raises(CorruptArchive, match="what does not unpack"):
        package_cache.add(tmp_path / "pkgs", package, broken)
    assert list((tmp_path / "pkgs").iterdir()) == []


def test_a_cache_that_is_a_file_is_told(tmp_path: Path, local_channel: LocalChannel) -> None:
    [package] = local_channel.locked("placeheld")
    (tmp_path / "pkgs").write_text("in the way")

    with pytest.raises(FileNotUsable):
        package_cache.add(tmp_path / "pkgs", package, archive_of(local_channel, package))


# --- wheels ---------------------------------------------------------------------------------


@pytest.fixture
def prefix(local_channel: LocalChannel, tmp_path: Path) -> Path:
    """One that has an interpreter."""
    packages = local_channel.locked("python", base=local_channel.root.as_uri())
    place = tmp_path / "px"
    installer = RattlerInstaller(make_settings(tmp_path))
    installer.link(packages, place, platform=local_channel.subdir, progress=lambda *_: None)
    return place


@pytest.fixture
def uv(tmp_path: Path) -> Uv:
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "UV_CACHE_DIR": str(tmp_path / "uv")}
    return Uv(
        processes=RealProcesses(), environment=environment, settings=PipSettings(), offline=True
    )


def wheel_of(file: Path) -> LockedPackage:
    return LockedPackage(
        platform="linux-64",
        name=file.name.partition("-")[0],
        manager="pip",
        version="1.4",
        url=f"https://wheels.example/{file.name}",
        sha256=sha256(file),
    )


def test_uv_installs_what_lies_in_the_wheelhouse(tmp_path: Path, prefix: Path, uv: Uv) -> None:
    file = build_wheel(tmp_path / "made", "shout", "1.4", modules={"shout.py": "LOUD = True\n"})
    wheel, house = wheel_of(file), Wheelhouse(tmp_path / "house")
    assert house.find(wheel) is None
    house.add(wheel, file)

    UvInstaller(uv, house).install([wheel], prefix)

    told = subprocess.run(
        [prefix / "bin/python", "-c", "import shout; print(shout.LOUD)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "True\n"
    assert list(prefix.rglob("direct_url.json")) == []


def test_a_wheel_that_was_changed_in_the_wheelhouse_is_refused(
    tmp_path: Path, prefix: Path, uv: Uv
) -> None:
    file = build_wheel(tmp_path / "made", "shout", "1.4")
    wheel, house = wheel_of(file), Wheelhouse(tmp_path / "house")
    house.add(wheel, file)
    other = build_wheel(tmp_path / "other", "shout", "1.4", modules={"shout.py": "evil = 1\n"})
    house.path(wheel).write_bytes(other.read_bytes())

    with pytest.raises(CorruptArchive) as caught:
        UvInstaller(uv, house).install([wheel], prefix)
    assert caught.value.url == wheel.url
    assert caught.value.found == hashlib.sha256(other.read_bytes()).hexdigest()


def test_a_wheel_whose_name_leads_elsewhere_is_not_looked_for(tmp_path: Path) -> None:
    wheel = replace(
        wheel_of(build_wheel(tmp_path, "shout", "1.4")),
        url="https://wheels.example/..%2F..%2Fshout-1.4-py3-none-any.whl",
    )

    assert Wheelhouse(tmp_path).find(wheel) is None
