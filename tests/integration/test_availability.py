"""`check --availability`: what is still there, what is gone, and where else the same bytes are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.channel_server import ChannelServer, serve
from fakes.installing import make_settings, wheel
from fakes.local_channel import LocalChannel
from fakes.wheels import build_wheel, sha256, write_index
from fakes.wheels import serve as serve_wheels

from envforge.adapters import channels
from envforge.adapters.availability import AvailabilityProbe
from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.rattler_installer import RattlerInstaller
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.adapters.wheelhouse import Wheelhouse
from envforge.model.availability import Archive, Availability, OtherPlace
from envforge.model.lock import LockedPackage
from envforge.model.settings import CondaSettings

PLACEHELD = "placeheld-1.0-0.conda"


def ask(
    folder: Path,
    packages: Sequence[LockedPackage],
    channels: Sequence[str] = (),
    pip: PipSettings | None = None,
    pauses: list[float] | None = None,
    **given: Any,
) -> Availability:
    settings = make_settings(folder, **{"environment": {}, **given})
    probe = AvailabilityProbe(
        settings=settings,
        pip=pip or PipSettings(no_index=True),
        wheelhouse=Wheelhouse(folder / "wheels"),
        solver=RattlerSolver(settings),
        pause=([] if pauses is None else pauses).append,
    )
    return probe.ask(packages, channels)


@pytest.fixture
def packages(channel_server: ChannelServer, local_channel: LocalChannel) -> tuple[Any, ...]:
    return local_channel.locked("placeheld", ("greeter", "1.2"), base=channel_server.url)


@pytest.fixture
def other(local_channel: LocalChannel, tmp_path: Path) -> Iterator[ChannelServer]:
    """Another server, which has placeheld under another channel's name."""
    shutil.copytree(local_channel.root / "conda-forge", tmp_path / "other" / "rescue")
    with serve(tmp_path / "other") as state:
        yield state


def gone(answer: Availability) -> Archive:
    [archive] = answer.missing
    assert not answer.unknown
    return archive


def test_all_is_there_and_nothing_is_fetched(
    channel_server: ChannelServer, packages: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    """Two platforms with the same archive ask once."""
    again = replace(packages[0], platform="linux-aarch64")
    answer = ask(tmp_path, (*packages, again))
    assert (answer.asked, answer.is_complete) == (2, True)
    assert sorted(item.method for item in channel_server.asked) == ["HEAD", "HEAD"]


def test_what_is_gone_and_found_nowhere(
    channel_server: ChannelServer, packages: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    channel_server.faults[PLACEHELD] = "404"
    archive = gone(ask(tmp_path, packages))
    assert (archive.name, archive.state, archive.elsewhere) == ("placeheld", "gone", ())
    assert "not there any more (404)" in archive.reason
    assert archive.url == archive.asked


def test_another_channels_metadata_has_the_same_hash(
    channel_server: ChannelServer,
    other: ChannelServer,
    packages: tuple[LockedPackage, ...],
    tmp_path: Path,
) -> None:
    """Of the lock's channels and of condarc's; one that is down hides no other."""
    channel_server.faults[PLACEHELD] = "404"
    rescue = f"{other.url}/rescue"
    place = OtherPlace(
        kind="channel", where=f"{rescue}/{packages[1].subdir}/{PLACEHELD}", is_proven=True
    )
    down = "http://127.0.0.1:9/down"
    assert gone(ask(tmp_path, packages, [down, rescue])).elsewhere == (place,)
    conda = CondaSettings(channels=(rescue,))
    assert gone(ask(tmp_path / "b", packages, conda=conda)).elsewhere == (place,)
    other.faults[PLACEHELD] = "404"  # its metadata promises what it has not
    assert gone(ask(tmp_path / "c", packages, [rescue])).elsewhere == ()


def test_what_a_channel_withdrew_is_under_its_label_broken(
    local_channel: LocalChannel, tmp_path: Path
) -> None:
    """As conda-forge does it."""
    root = tmp_path / "root"
    shutil.copytree(local_channel.root / "conda-forge", root / "cf" / "label" / "broken")
    with serve(root) as server:
        [package] = local_channel.locked("placeheld", base=server.url)
        url = package.url.replace("/conda-forge/", "/cf/")
        archive = gone(ask(tmp_path, [replace(package, url=url)]))
    [place] = archive.elsewhere
    assert place.where == url.replace("/cf/", "/cf/label/broken/")


def test_the_package_cache_and_the_locked_address_behind_a_mirror(
    channel_server: ChannelServer,
    other: ChannelServer,
    packages: tuple[LockedPackage, ...],
    tmp_path: Path,
) -> None:
    mirrors = {"x": (f"{channel_server.url}/conda-forge", f"{other.url}/nothing")}
    settings = make_settings(tmp_path, environment={})
    [placeheld] = [item for item in packages if item.name == "placeheld"]
    RattlerInstaller(settings).link(
        [placeheld], tmp_path / "env", platform=placeheld.platform, progress=lambda *_: None
    )
    channel_server.faults[PLACEHELD] = "404"
    archive = gone(ask(tmp_path, packages, conda=CondaSettings(mirrored_channels=mirrors)))
    [place] = archive.elsewhere
    assert (place.kind, place.is_proven) == ("package-cache", True)
    assert (Path(place.where) / "info" / "index.json").is_file()


def test_a_mirror_that_lacks_something(
    channel_server: ChannelServer,
    local_channel: LocalChannel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is asked is where an install would read; the locked address is another place."""
    monkeypatch.setattr(channels, "_PUBLIC", channel_server.url)
    packages = local_channel.locked("placeheld", base=channel_server.url)
    shutil.copytree(local_channel.root / "conda-forge", tmp_path / "site" / "conda-forge")
    with serve(tmp_path / "site") as mirror:
        assert ask(tmp_path, packages, mirror=mirror.url).is_complete
        assert not channel_server.asked
        mirror.faults[PLACEHELD] = "404"
        archive = gone(ask(tmp_path, packages, mirror=mirror.url))
        assert archive.asked.startswith(mirror.url)
    place = OtherPlace(kind="address", where=packages[0].url, is_proven=False)
    assert archive.url == packages[0].url
    assert archive.elsewhere == (place,)


@pytest.mark.parametrize(
    ("fault", "reason"), [("401", "asks for a login (401)"), ("500", "server failed (500)")]
)
def test_what_cannot_be_asked_is_never_a_pass(
    channel_server: ChannelServer,
    packages: tuple[LockedPackage, ...],
    tmp_path: Path,
    fault: Any,
    reason: str,
) -> None:
    channel_server.faults[".conda"] = fault
    answer = ask(tmp_path, packages)
    assert not answer.missing
    assert {item.state for item in answer.unknown} == {"unknown"}
    assert all(reason in item.reason for item in answer.unknown)
    assert not answer.is_complete


def test_a_server_that_is_down_is_not_asked_for_everything(
    local_channel: LocalChannel, tmp_path: Path
) -> None:
    [package] = local_channel.locked("placeheld", base="http://127.0.0.1:9")
    many = [
        replace(package, url=package.url.replace("placeheld", f"p{number}"), name=f"p{number}")
        for number in range(200)
    ]
    answer = ask(tmp_path, many)
    assert len(answer.unknown) == 200
    assert {item.reason for item in answer.unknown} == {"connection refused"}


def test_a_busy_server_is_waited_for(
    channel_server: ChannelServer, packages: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    pauses: list[float] = []
    channel_server.busy[PLACEHELD] = [(429, "7"), (503, "")]
    assert ask(tmp_path, packages, pauses=pauses).is_complete
    assert pauses == [7.0, 2.0]


def test_a_server_that_knows_no_head(
    channel_server: ChannelServer, packages: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    channel_server.busy[PLACEHELD] = [(405, "")]
    assert ask(tmp_path, packages).is_complete
    assert [item.method for item in channel_server.asked if item.path.endswith(PLACEHELD)] == [
        "HEAD",
        "GET",
    ]


def test_something_else_under_its_name(
    channel_server: ChannelServer, packages: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    other = tuple(replace(item, size=7) if item.name == "placeheld" else item for item in packages)
    archive = gone(ask(tmp_path, other))
    assert archive.state == "changed"
    assert "7 are locked" in archive.reason


def test_credentials_open_and_are_not_kept(
    channel_server: ChannelServer, packages: tuple[LockedPackage, ...], tmp_path: Path
) -> None:
    channel_server.password = "me:s3cret-planted"  # noqa: S105 - of a server that ends here
    login = channel_server.url.replace("//", "//me:s3cret-planted@")
    conda = CondaSettings(channel_alias=login)
    assert ask(tmp_path, packages, conda=conda).is_complete
    channel_server.faults[PLACEHELD] = "404"
    answer = ask(tmp_path, packages, conda=conda)
    assert "s3cret" not in repr(answer)
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and b"s3cret-planted" in path.read_bytes()
    ]


def test_wheels_in_indexes_folders_and_the_wheelhouse(tmp_path: Path) -> None:
    root = tmp_path / "index"
    file = build_wheel(root / "moved", "alpha", "1.0")
    write_index(root, [file])
    locked = wheel("alpha", sha256=sha256(file), size=file.stat().st_size)
    with serve_wheels(root) as index:
        locked = replace(locked, url=f"{index.address}/before/{file.name}")
        pip = PipSettings(index_url=f"{index.address}/simple", find_links=(str(root / "moved"),))
        archive = gone(ask(tmp_path, [locked], pip=pip))
        assert [(place.kind, place.is_proven) for place in archive.elsewhere] == [
            ("folder", True),
            ("index", True),
        ]
        assert archive.elsewhere[1].where == f"{index.address}/moved/{file.name}"
        house = Wheelhouse(tmp_path / "wheels")
        kept = Path(shutil.copy(file, tmp_path / "copy"))
        house.add(locked, kept)
        assert ask(tmp_path, [locked], pip=pip).is_complete  # an install would take it from there


def test_files(local_channel: LocalChannel, tmp_path: Path) -> None:
    [package] = local_channel.locked("placeheld", base=local_channel.root.as_uri())
    assert ask(tmp_path, [package]).is_complete
    lost = replace(package, url=package.url.replace("placeheld", "lost"))
    assert "no such file" in gone(ask(tmp_path, [lost])).reason
    assert gone(ask(tmp_path, [replace(package, size=1)])).state == "changed"
    nowhere = replace(package, url="s3://bucket/ch/noarch/x-1-0.conda")
    [unknown] = ask(tmp_path, [nowhere]).unknown
    assert "cannot be asked" in unknown.reason
