"""What lies in the spool, and for how long."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes.channel_server import serve
from fakes.installing import conda_package, make_settings
from fakes.wheels import sha256

from envforge.adapters.archive_spool import ArchiveSpool
from envforge.adapters.rattler_link import LinkRequest
from envforge.errors import FileNotUsable, Unreachable
from envforge.model.settings import CondaSettings


def test_files_are_handed_on_and_go_when_all_is_done(tmp_path: Path) -> None:
    """A part that nobody came back for goes too; one of yesterday stays."""
    archive = tmp_path / "root" / "ch" / "noarch" / "a-1.0-0.conda"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"x" * 5000)
    folder = tmp_path / "cache" / "archives"
    folder.mkdir(parents=True)
    for name, days in (("old.part", 8), ("new.part", 1)):
        (folder / name).write_text("x")
        then = time.time() - days * 86400
        os.utime(folder / name, (then, then))
    told: list[str] = []
    with serve(tmp_path / "root") as server:
        url = f"{server.url}/ch/noarch/a-1.0-0.conda"
        package = conda_package("a", url=url, sha256=sha256(archive), size=5000)
        settings = make_settings(tmp_path, environment={}, conda=CondaSettings())
        request = LinkRequest(
            settings=settings,
            prefix=tmp_path / "p",
            platform="linux-64",
            packages=(package,),
            addresses={url: url},
        )
        with ArchiveSpool(settings, lambda *report: told.append(report[3])) as spool:
            assert spool.fetched(request, lambda _: False) is request
            found = spool.fetched(request, lambda _: True)
            path = Path(found.addresses[url].removeprefix("file://"))
            assert path.read_bytes() == archive.read_bytes()
            assert path.name.endswith("-a-1.0-0.conda")
            assert request.addresses == {url: url}
    assert told == ["a 0.0 of 0.0 MB"]
    assert [path.name for path in folder.iterdir()] == ["new.part"]


@pytest.mark.parametrize(
    ("reason", "helps"),
    [
        ("the download broke off (operation timed out)", True),
        ("it asks for a login (401 Unauthorized)", True),
        ("the server failed (503 Service Unavailable)", True),
        ("the server failed (500 Internal Server Error)", False),
        ("it is not there any more (404 Not Found)", False),
        ("connection refused", False),
    ],
)
def test_patience_helps_where_something_may_change(
    tmp_path: Path, reason: str, helps: bool
) -> None:
    error = Unreachable(url="x", reason=reason)
    online, offline = make_settings(tmp_path), make_settings(tmp_path, offline=True)
    assert ArchiveSpool(online, lambda *_: None).helps(error) is helps
    assert not ArchiveSpool(offline, lambda *_: None).helps(error)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    settings = make_settings(tmp_path)
    package = conda_package("a")
    request = LinkRequest(
        settings=settings,
        prefix=tmp_path,
        platform="linux-64",
        packages=(package,),
        addresses={package.url: package.url},
    )
    with (
        pytest.raises(FileNotUsable),
        ArchiveSpool(settings, lambda *_: None) as spool,
    ):
        spool.fetched(request, lambda _: True)
