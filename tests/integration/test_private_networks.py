"""Channels behind tokens, passwords, mirrors and proxies, and servers that are busy or break off.

The real solver and the real installer, over loopback; and no secret in anything they leave.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from fakes.channel_server import ChannelServer, serve
from fakes.conda_package import make_package
from fakes.local_channel import index_channel

from envforge.adapters import archive_spool, keyrings, patience, rattler_installer
from envforge.adapters.channels import resolve_channels
from envforge.adapters.pack import download
from envforge.adapters.pack.download import Downloads
from envforge.adapters.rattler_installer import RattlerInstaller
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.adapters.settings import load_settings
from envforge.errors import InvalidValue, Unreachable
from envforge.model.lock import LockedPackage
from envforge.model.settings import Settings
from envforge.model.solving import CondaProblem, CondaSolution
from envforge.model.spec import Dependency

SECRET = "sekret-4711-planted"  # noqa: S105 - of a server that ends with the test
LOGIN = f"joe:{SECRET}"
ALPHA = "alpha-1.0-0.conda"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ch`, and the same as conda-forge: alpha, which does not compress, needs beta."""
    folder = tmp_path_factory.mktemp("channels")
    make_package(
        folder / "ch", "alpha", files={"share/alpha": os.urandom(400_000)}, depends=["beta"]
    )
    make_package(folder / "ch", "beta", files={"share/beta": "b"}, noarch="generic")
    index_channel(folder / "ch")
    shutil.copytree(folder / "ch", folder / "conda-forge")
    shutil.copytree(folder / "ch", folder / "conda.invalid" / "ch")
    shutil.copytree(folder / "ch", folder / "conda.invalid" / "t" / SECRET / "ch")
    return folder


@pytest.fixture
def server(root: Path) -> Iterator[ChannelServer]:
    with serve(root) as state:
        yield state


@dataclass
class Site:
    """What a person has set up."""

    folder: Path
    mirror: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    sources: set[Path] = field(default_factory=set)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / "home" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        self.sources.add(path)
        return path

    def condarc(self, text: str) -> None:
        self.write(".condarc", text)

    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Settings:
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(self.folder / "home"))
        return load_settings(os.environ, self.folder, {"mirror": self.mirror, "timeout": 20})

    def leaks(self) -> list[str]:
        return [
            str(path.relative_to(self.folder))
            for path in self.folder.rglob("*")
            if path.is_file() and path not in self.sources and SECRET.encode() in path.read_bytes()
        ]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    (tmp_path / "home").mkdir()
    return Site(tmp_path)


def solve(settings: Settings, *channels: str) -> tuple[LockedPackage, ...]:
    problem = CondaProblem(
        platform="linux-64",
        channels=resolve_channels(channels, settings),
        dependencies=(Dependency(name="alpha"),),
    )
    [answer] = RattlerSolver(settings).solve([problem])
    assert isinstance(answer, CondaSolution), answer
    return answer.packages


def link(settings: Settings, packages: tuple[LockedPackage, ...], folder: Path) -> None:
    RattlerInstaller(settings).link(
        packages, folder / "prefix", platform="linux-64", progress=lambda *_: None
    )
    assert (folder / "prefix" / "share" / "alpha").stat().st_size == 400_000


def lived(site: Site, monkeypatch: pytest.MonkeyPatch, channel: str) -> tuple[LockedPackage, ...]:
    """Solve and install, and see that nothing that was kept holds the secret."""
    settings = site.settings(monkeypatch)
    packages = solve(settings, channel)
    # As an install does it, which knows the lock's channels.
    link(replace(settings, channels=(channel,)), packages, site.folder)
    assert SECRET not in repr(packages)
    assert site.leaks() == []
    return packages


# --- where channels are ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "condarc",
    [
        "channel_alias: {url}",
        "channel_alias: $PLACE",
        "custom_channels: {{ch: '{url}'}}",
        "mirrored_channels: {{ch: ['{url}/ch']}}",
        "mirrored_channels: {{ch: ['http://127.0.0.1:9/ch', '{url}/ch']}}",
        "custom_multichannels: {{ch: ['{url}/ch']}}",
    ],
)
def test_conda_says_where_a_channel_is(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch, condarc: str
) -> None:
    """Also where the first of several mirrors is down."""
    site.variables["PLACE"] = server.url
    site.condarc(condarc.format(url=server.url))
    lived(site, monkeypatch, "ch")


def test_large_archives_too_come_from_the_mirror_that_answers(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000)
    monkeypatch.setattr(Downloads, "_pause", lambda *_: None)
    site.condarc(f"mirrored_channels: {{ch: ['http://127.0.0.1:9/ch', '{server.url}/ch']}}")
    lived(site, monkeypatch, "ch")


# --- who may read them ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "condarc", "mirror"),
    [
        ("ch", "channel_alias: {login}", None),
        ("ch", "custom_channels: {{ch: '{login}'}}", None),
        ("conda-forge", "channel_alias: {login}", None),
        ("conda-forge", "mirrored_channels: {{conda-forge: ['{login}/ch']}}", None),
        ("conda-forge", "", "{login}"),
        ("{url}/ch", "channels: ['{login}/ch']", None),
    ],
)
def test_a_password_in_an_address(  # noqa: PLR0917 - fixtures and parameters
    server: ChannelServer,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
    condarc: str,
    mirror: str | None,
) -> None:
    """It opens the channel when it is read, and when its packages are fetched."""
    server.password = LOGIN
    login = server.url.replace("//", f"//{LOGIN}@")
    site.condarc(condarc.format(login=login))
    site.mirror = mirror and mirror.format(login=login)
    lived(site, monkeypatch, channel.format(url=server.url))


@pytest.mark.parametrize(
    ("channel", "condarc", "mirror"),
    [
        ("ch", "channel_alias: {token}", None),
        ("ch", "channel_alias: {url}/t/$MINE", None),
        ("conda-forge", "custom_channels: {{conda-forge: '{token}'}}", None),
        ("conda-forge", "mirrored_channels: {{conda-forge: ['{token}/ch']}}", None),
        ("conda-forge", "", "{token}"),
        ("{url}/t/$MINE/ch", "", None),
    ],
)
def test_a_token_in_an_address(  # noqa: PLR0917 - fixtures and parameters
    server: ChannelServer,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    channel: str,
    condarc: str,
    mirror: str | None,
) -> None:
    server.token = SECRET
    given = {"token": f"{server.url}/t/{SECRET}", "url": server.url}
    site.variables["MINE"] = SECRET
    site.condarc(condarc.format(**given))
    site.mirror = mirror and mirror.format(**given)
    lived(site, monkeypatch, channel.format(**given))


@pytest.mark.parametrize("where", [".netrc", "elsewhere", ".rattler", "RATTLER_AUTH_FILE"])
def test_a_login_that_stands_somewhere_else(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    server.password = LOGIN
    netrc = f"machine 127.0.0.1 login joe password {SECRET}\n"
    stored = json.dumps({"127.0.0.1": {"BasicHTTP": {"username": "joe", "password": SECRET}}})
    if where == ".netrc":
        site.write(".netrc", netrc)
    elif where == "elsewhere":
        site.variables["NETRC"] = str(site.write("private/netrc", netrc))
    elif where == ".rattler":
        site.write(".rattler/credentials.json", stored)
    else:
        site.variables[where] = str(site.write("private/logins.json", stored))
    lived(site, monkeypatch, f"{server.url}/ch")


def test_a_token_that_rattler_keeps_opens_large_archives_too(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000)
    server.token = SECRET
    site.write(".rattler/credentials.json", json.dumps({"127.0.0.1": {"CondaToken": SECRET}}))
    lived(site, monkeypatch, f"{server.url}/ch")


def test_a_user_without_a_password_is_looked_up_in_the_keyring(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the `keyring` library, here with a backend of its own."""
    keyring = pytest.importorskip("keyring")
    from keyring.backend import KeyringBackend

    class Known(KeyringBackend):  # type: ignore[misc] # untyped in some releases
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            return SECRET if (service, username) == ("127.0.0.1", "joe") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise AssertionError

        def delete_password(self, service: str, username: str) -> None:
            raise AssertionError

    keyrings.forget()
    before = keyring.get_keyring()
    keyring.set_keyring(Known())
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000)
    server.password = LOGIN
    site.condarc(f"channel_alias: {server.url.replace('//', '//joe@')}")
    try:
        packages = solve(site.settings(monkeypatch), "ch")
        [large] = [item for item in packages if item.name == "alpha"]
        settings = site.settings(monkeypatch)
        addresses = rattler_installer.read_addresses(large, settings)
        got = Downloads(settings, archive_spool.PipSettings()).fetch_from(
            addresses, large.sha256, site.folder
        )
        assert got.stat().st_size == large.size
    finally:
        keyring.set_keyring(before)
        keyrings.forget()


def test_a_wrong_token_is_not_repeated(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.token = "another"  # noqa: S105
    site.condarc(f"channel_alias: {server.url}/t/{SECRET}")
    with pytest.raises(Unreachable) as caught:
        solve(site.settings(monkeypatch), "ch")
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    assert site.leaks() == []


def test_credentials_are_not_handed_to_whoever_answers(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses with a password, and certificates that nobody checks."""
    site.condarc(f"channel_alias: {server.url}/t/{SECRET}\nssl_verify: false")
    with pytest.raises(InvalidValue, match="ssl_verify") as caught:
        solve(site.settings(monkeypatch), "ch")
    assert SECRET not in f"{caught.value!r} {caught.value} {caught.value.hint}"


# --- proxies --------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("by", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "condarc"])
def test_proxies(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch, by: str, token: bool
) -> None:
    """For metadata, packages, and what is fetched in parts; with tokens and without."""
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000)
    lines = [f"channel_alias: http://conda.invalid{f'/t/{SECRET}' if token else ''}"]
    if by == "condarc":
        lines.append(f"proxy_servers: {{http: '{server.url}'}}")
    else:
        site.variables[by] = server.url
    site.condarc("\n".join(lines))
    lived(site, monkeypatch, "ch")
    assert all(item.path.startswith("http://conda.invalid/") for item in server.asked)


@pytest.mark.parametrize("by", ["HTTP_PROXY", "condarc"])
def test_what_no_proxy_names_is_asked_directly(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000)
    site.variables["NO_PROXY"] = "example.org,127.0.0.1"
    if by == "condarc":
        site.condarc("proxy_servers: {http: 'http://127.0.0.1:9'}")
    else:
        site.variables[by] = "http://127.0.0.1:9"
    lived(site, monkeypatch, f"{server.url}/ch")


# --- patience -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("path", ["linux-64/repodata_shards.msgpack.zst", ALPHA])
def test_a_busy_server_is_given_the_time_it_asks_for(
    server: ChannelServer,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    path: str,
) -> None:
    """rattler gives up after two more attempts, within a second or two."""
    monkeypatch.setattr(patience, "_PAUSES", (0.1, 0.1, 0.1))
    server.busy[path] = [(status, "0.7")] * 5
    lived(site, monkeypatch, f"{server.url}/ch")
    assert server.busy[path] == []
    at = [item.at for item in server.asked if item.path.endswith(path)]
    gaps = [after - before for before, after in itertools.pairwise(at)]
    assert max(gaps) > 0.65


def test_a_server_that_wants_an_hour_is_told_to_the_person(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.busy["repodata_shards.msgpack.zst"] = [(429, "3600")] * 50
    with pytest.raises(Unreachable, match="429"):
        solve(site.settings(monkeypatch), f"{server.url}/ch")


@pytest.mark.parametrize("large", [True, False])
def test_a_download_goes_on_where_the_line_broke(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """From the first break, where it is large; else once rattler has given up."""
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000 if large else 1 << 40)
    monkeypatch.setattr(Downloads, "_pause", lambda *_: None)
    server.cuts[ALPHA] = [100_000] * (3 if large else 5)
    lived(site, monkeypatch, f"{server.url}/ch")
    ranges = [item.range for item in server.asked if item.path.endswith(ALPHA)]
    if large:
        assert ranges == ["", "bytes=100000-", "bytes=200000-", "bytes=300000-"]
    else:
        assert ranges[-2:] == ["bytes=100000-", "bytes=200000-"]
    assert list((site.folder / "home" / ".cache" / "envforge").glob("archives/*")) == []


def test_what_came_is_kept_for_the_next_install(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rattler_installer, "_LARGE", 1000)
    monkeypatch.setattr(Downloads, "_pause", lambda *_: None)
    settings = site.settings(monkeypatch)
    packages = solve(settings, f"{server.url}/ch")
    server.cuts[ALPHA] = [100_000]
    monkeypatch.setattr(download, "_TRIES", 0)
    with pytest.raises(Unreachable, match="broke off"):
        link(settings, packages, site.folder)
    monkeypatch.setattr(download, "_TRIES", 5)
    server.asked.clear()
    link(settings, packages, site.folder)
    assert [item.range for item in server.asked if item.path.endswith(ALPHA)] == ["bytes=100000-"]


def test_a_slow_line_is_no_silence(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the time without a byte: a large archive takes as long as it takes."""
    server.delay = 0.15
    server.faults[ALPHA] = "slow"
    settings = replace(site.settings(monkeypatch), timeout=1.0)
    packages = solve(settings, f"{server.url}/ch")
    link(settings, packages, site.folder)
    assert server.count(ALPHA) == 1


def test_a_server_that_falls_silent_is_not_waited_for(
    server: ChannelServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Downloads, "_pause", lambda *_: None)
    settings = replace(site.settings(monkeypatch), timeout=0.5)
    packages = solve(settings, f"{server.url}/ch")
    server.delay = 4.0
    server.faults[ALPHA] = "slow-head"
    with pytest.raises(Unreachable, match=r"broke off|timed out"):
        link(settings, packages, site.folder)
