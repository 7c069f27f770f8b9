"""Packing in this process: real archives from files and over HTTP, a real store, real faults."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.channel_server import ChannelServer
from fakes.hub_repos import HubRepo
from fakes.installing import RecordingReporter, make_settings
from fakes.local_channel import LocalChannel
from fakes.packs import NAME, PackMaker, digest
from fakes.prefilling import FILES, PrefillWorld
from fakes.wheels import build_wheel

from envforge.adapters.pack.reading import open_pack
from envforge.adapters.store.leases import leased
from envforge.errors import (
    CorruptArchive,
    FileNotUsable,
    InvalidFile,
    InvalidValue,
    NotCached,
    StaleLock,
    Unreachable,
    WrongBytes,
)
from envforge.forge import Forge
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import Lock, LockedPackage
from envforge.model.pack import Packed, PackIndex

PACKAGES = (("greeter", "1.2"), "placeheld")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir(mode=0o755)
    return folder


def forge_of(place: Path, **given: Any) -> Forge:
    return Forge(settings=make_settings(place, **given), reporter=RecordingReporter())


def environment(place: Path, packages: Sequence[LockedPackage], name: str = NAME) -> Path:
    """A folder that holds a lock alone, which is enough to install from."""
    folder = place / "envs" / name
    folder.mkdir(parents=True)
    lock = Lock(
        packages=tuple(packages),
        platforms=("linux-64",),
        channels=("conda-forge",),
        content_hash={"linux-64": "0" * 64},
    )
    (folder / "conda-lock.yml").write_text(conda_lock_yml.write(lock))
    return folder


@pytest.fixture
def folder(place: Path, local_channel: LocalChannel) -> Path:
    return environment(place, local_channel.locked(*PACKAGES))


def pack(place: Path, channel: LocalChannel | ChannelServer, *names: str, **how: Any) -> Packed:
    mirror = str(channel.root) if isinstance(channel, LocalChannel) else channel.url
    forge = forge_of(place, mirror=mirror)
    given = {"bootstrap": False, **how}
    return forge.pack(names or (NAME,), given.pop("output", place / "p.tar"), **given)


def index_of(path: Path) -> PackIndex:
    with open_pack(path) as opened:
        opened.verify(lambda *_: None)
        return opened.index


# --- packages -------------------------------------------------------------------------------


def test_over_http_and_from_files_the_same_bytes_come(
    place: Path, folder: Path, local_channel: LocalChannel, channel_server: ChannelServer
) -> None:
    one = pack(place, local_channel)
    two = pack(place, channel_server, output=place / "q.tar")

    assert one.sha256 == two.sha256 == digest((place / "q.tar").read_bytes())
    assert channel_server.count(".conda") == 2
    assert sorted(path.name for path in place.iterdir()) == ["envs", "p.tar", "q.tar"]
    assert index_of(place / "p.tar") == one.index


def test_archives_that_are_not_as_locked_are_refused_and_the_rest_is_kept(
    place: Path, folder: Path, channel_server: ChannelServer, local_channel: LocalChannel
) -> None:
    channel_server.faults["placeheld-1.0-0.conda"] = "wrong-bytes"
    with pytest.raises(CorruptArchive, match="placeheld"):
        pack(place, channel_server)
    assert not (place / "p.tar").exists()

    channel_server.faults.clear()
    done = pack(place, channel_server)

    assert done.resumed >= 1
    assert done.sha256 == pack(place, local_channel, output=place / "q.tar").sha256
    assert not (place / "p.tar.part").exists()


def test_a_file_of_a_channel_that_was_changed_is_refused(
    place: Path, folder: Path, local_channel: LocalChannel, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(local_channel.root / "conda-forge", tmp_path / "mirror" / "conda-forge")
    [archive] = (tmp_path / "mirror").rglob("placeheld-*.conda")
    archive.write_bytes(archive.read_bytes()[:-1] + b"?")

    with pytest.raises(CorruptArchive, match="placeheld"):
        pack(place, replace(local_channel, root=tmp_path / "mirror"))
    archive.unlink()
    with pytest.raises(FileNotUsable, match="placeheld"):
        pack(place, replace(local_channel, root=tmp_path / "mirror"))


def test_wheels_come_from_their_address_and_again_from_where_a_pack_left_them(
    place: Path, local_channel: LocalChannel, tmp_path: Path
) -> None:
    file = build_wheel(tmp_path / "links", "shout", "1.4")
    [package] = local_channel.locked("placeheld")
    wheel = LockedPackage(
        platform="linux-64",
        name="shout",
        manager="pip",
        version="1.4",
        url=file.as_uri(),
        sha256=digest(file.read_bytes()),
    )
    environment(place, [package, wheel])
    pack(place, local_channel)
    assert index_of(place / "p.tar").count("wheel") == 1

    there = tmp_path / "there"
    there.mkdir()
    forge_of(there).unpack(place / "p.tar")
    file.unlink()
    again = forge_of(there, mirror=str(local_channel.root))
    done = again.pack([NAME], there / "q.tar", bootstrap=False)

    assert done.sha256 == digest((place / "p.tar").read_bytes())


def test_what_is_offline_out_of_reach_is_named_before_anything_is_written(
    place: Path, folder: Path
) -> None:
    forge = forge_of(place, offline=True)
    with pytest.raises(Unreachable, match=r"need archives|needs archives") as caught:
        forge.pack([NAME], place / "p.tar", bootstrap=False)
    assert "greeter-1.2-pyh0_0.conda" in caught.value.reason


def test_a_stream_gets_the_same_bytes(
    place: Path, folder: Path, local_channel: LocalChannel
) -> None:
    stream = io.BytesIO()
    done = pack(place, local_channel, output=stream)

    assert (done.path, done.sha256) == ("", digest(stream.getvalue()))
    assert pack(place, local_channel).sha256 == done.sha256


def test_interrupted_it_ends_at_once_and_goes_on_later(
    place: Path, folder: Path, channel_server: ChannelServer, local_channel: LocalChannel
) -> None:
    """Ctrl-C while an archive trickles in."""
    channel_server.faults["placeheld-1.0-0.conda"] = "slow"
    channel_server.delay = 0.5
    program = (
        "import sys; from pathlib import Path; from envforge.cli import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "pack", NAME, "-o", "p.tar", "--no-bootstrap"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(place),
        "ENVFORGE_MIRROR": channel_server.url,
    }
    with subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE) as child:
        while not channel_server.count("placeheld-1.0-0.conda"):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=8)
    assert child.returncode == 130, said
    assert not (place / "p.tar").exists()

    channel_server.faults.clear()
    assert pack(place, channel_server).sha256 == (
        pack(place, local_channel, output=place / "q.tar").sha256
    )


# --- slips ----------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_what_another_user_put_beside_the_file_is_not_written_to(
    place: Path, folder: Path, local_channel: LocalChannel, tmp_path: Path
) -> None:
    """In `/tmp` anybody can: with a link in it to a file of whoever packs."""
    (tmp_path / "thesis.tex").write_text("mine")
    beside = tmp_path / "p.pack.part"
    beside.mkdir()
    for name in ("archive", "lock"):
        (beside / name).symlink_to(tmp_path / "thesis.tex")
    os.chown(beside, 4100, 4100)

    with pytest.raises(FileNotUsable, match="another user"):
        pack(place, local_channel, NAME, output=tmp_path / "p.pack")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_slips_are_told_before_anything_is_written(
    place: Path, folder: Path, local_channel: LocalChannel
) -> None:
    with pytest.raises(InvalidValue, match="was named twice"):
        pack(place, local_channel, NAME, str(folder))
    with pytest.raises(InvalidValue, match="is none that"):
        pack(place, local_channel, platform="osx-arm64")
    with pytest.raises(FileNotUsable, match="it is a folder"):
        pack(place, local_channel, output=place)
    with pytest.raises(FileNotUsable):
        pack(place, local_channel, output=folder / "conda-lock.yml" / "p.tar")
    assert sorted(path.name for path in place.iterdir()) == ["envs"]


def test_a_lock_without_hashes_is_not_packed(place: Path, local_channel: LocalChannel) -> None:
    url = "https://files.example.org/old-1.0.tar.gz"
    sdist = LockedPackage(
        platform="linux-64", name="old", manager="pip", version="1", url=url, sha256="a" * 64
    )
    environment(place, [*local_channel.locked("placeheld"), sdist])

    with pytest.raises(InvalidFile, match="would have to be built"):
        pack(place, local_channel)


def test_a_python_of_one_machine_is_noted(place: Path, local_channel: LocalChannel) -> None:
    environment(place, local_channel.locked("python", base=local_channel.root.as_uri()))

    done = pack(place, local_channel)

    assert done.notes == (
        f"`python` of `{NAME}` was made on this machine and may run on no other system",
    )


# --- models ---------------------------------------------------------------------------------


@pytest.fixture
def repo() -> HubRepo:
    made = HubRepo(id="org/name")
    made.commit(FILES)
    return made


@pytest.fixture
def world(place: Path, repo: HubRepo, local_channel: LocalChannel) -> PrefillWorld:
    """An environment with a model; the hub is not there."""
    made = PrefillWorld(place, None)
    made.env(NAME, repo)
    for file in ("environment.yml",):
        (place / "envs" / NAME / file).unlink()
    lock = environment(place / "aside", local_channel.locked("placeheld")) / "conda-lock.yml"
    lock.rename(place / "envs" / NAME / "conda-lock.yml")
    return made


def fill(world: PrefillWorld) -> None:
    for data in FILES.values():
        part = world.store.root / "parts" / f"{digest(data)}.made-here"
        part.write_bytes(data)
        world.store.insert(part, digest(data))


def test_models_come_out_of_the_store(
    place: Path, world: PrefillWorld, local_channel: LocalChannel
) -> None:
    fill(world)

    done = pack(place, local_channel, models=True)

    assert done.index.environments[0].models
    assert done.index.count("model") == len(FILES)
    assert done.notes == ()
    assert not leased(world.store.root)


def test_models_that_are_not_asked_for_are_noted(
    place: Path, world: PrefillWorld, local_channel: LocalChannel
) -> None:
    done = pack(place, local_channel)

    assert done.notes == (f"the models of `{NAME}` stay out; `--models` packs them",)
    assert done.index.count("model") == 0


def test_models_that_are_nowhere_are_told(
    place: Path, world: PrefillWorld, local_channel: LocalChannel
) -> None:
    forge = forge_of(place, mirror=str(local_channel.root), environment={"HF_HUB_OFFLINE": "1"})
    with pytest.raises(NotCached):
        forge.pack([NAME], place / "p.tar", models=True, bootstrap=False)
    assert not list(place.glob("p.tar*"))


def test_a_damaged_file_of_the_store_is_told(
    place: Path, world: PrefillWorld, local_channel: LocalChannel
) -> None:
    fill(world)
    file = world.store.path(digest(FILES["config.json"]))
    file.chmod(0o644)
    file.write_bytes(b"[]")

    with pytest.raises(WrongBytes, match=str(file)):
        pack(place, local_channel, models=True)


def test_a_stale_lock_of_models_is_told(
    place: Path, world: PrefillWorld, local_channel: LocalChannel
) -> None:
    (place / "envs" / NAME / "models.yml").write_text("models:\n  - other/one\n")

    with pytest.raises(StaleLock):
        pack(place, local_channel, models=True)


def test_an_environment_without_models_is_packed_without(
    place: Path, folder: Path, local_channel: LocalChannel
) -> None:
    forge = forge_of(place, mirror=str(local_channel.root))

    done = forge.pack([NAME], place / "p.tar", models=True, bootstrap=False)

    assert not done.index.environments[0].models
    assert PackMaker().platform == done.index.platform
