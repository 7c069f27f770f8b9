"""Credentials reach the servers they are for, and nothing else: no file, log, message or JSON.

Each test plants them in other places, goes through the life of an environment over loopback
servers that ask for them, and then looks for them everywhere.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from e2e.world import Done, Place, World
from fakes.channel_server import ChannelServer, serve

TOKEN = "tk-9a8b7c6d-planted"  # noqa: S105 - of a server that ends with the test
PASSWORD = "pw-planted-5f4e3d"  # noqa: S105
USER = "ann"
FORMS = tuple(
    form
    for secret in (TOKEN, PASSWORD)
    for form in (secret.encode(), b64encode(secret.encode()).rstrip(b"="))
)
LOGIN = b64encode(f"{USER}:{PASSWORD}".encode())


@dataclass
class Planted:
    """A place of work, and everything that was said there."""

    place: Place
    sources: set[Path] = field(default_factory=set)
    """Files that hold the secrets because a person wrote them there."""
    said: list[str] = field(default_factory=list)

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        self.sources.add(path)

    def run(self, *arguments: str | Path) -> Done:
        done = self.place.run(*arguments)
        self.said += [done.out, done.err]
        return done

    def good(self, *arguments: str | Path) -> Done:
        done = self.run(*arguments)
        assert done.status == 0, f"{arguments}: {done.out}\n{done.err}"
        return done

    def leaks(self) -> list[str]:
        """Where a secret is, in any of its forms, that nobody put there."""
        found = [
            str(path.relative_to(self.place.folder))
            for path in self.place.folder.rglob("*")
            if path.is_file() and path not in self.sources and holds(path.read_bytes())
        ]
        names = [str(path) for path in self.place.folder.rglob("*") if holds(str(path).encode())]
        return [*found, *names, *(text for text in self.said if holds(text.encode()))]


def holds(data: bytes) -> bool:
    return any(form in data for form in (*FORMS, LOGIN))


@pytest.fixture
def planted(place: Place) -> Planted:
    """With caches of its own, so that nothing comes from another test."""
    place.home.mkdir()
    for name in ("ENVFORGE_MIRROR", "ENVFORGE_PACKAGE_CACHE", "ENVFORGE_CACHE"):
        place.variables.pop(name, None)
    place.variables["ENVFORGE_CACHE"] = str(place.folder / "cache")
    place.variables["ENVFORGE_STORE"] = str(place.folder / "store")
    return Planted(place)


@pytest.fixture
def guarded(world: World) -> Iterator[ChannelServer]:
    """The channels, for who has the password."""
    with serve(world.root) as state:
        state.password = f"{USER}:{PASSWORD}"
        yield state


@pytest.fixture
def by_token(world: World) -> Iterator[ChannelServer]:
    """The channels, below `/t/TOKEN` alone."""
    with serve(world.root) as state:
        state.token = TOKEN
        yield state


def live(planted: Planted, world: World, *more: str) -> str:
    """The life of an environment, with everything that is written and said on the way."""
    torch, folder = world.forge_cuda, planted.place.folder
    name = torch.name("sec")
    planted.good("create", "sec", *torch.options, "-vv", *more)
    assert (planted.place.prefixes / name / "conda-meta").is_dir()
    planted.good("show", name, "--json")
    planted.good("check", name, "--availability", "--json")
    planted.good("update", name, "--dry-run", "-vv")
    planted.good("verify", name, "--json", "--level", "static")
    for kind in ("explicit", "environment.yml", "pixi", "mirror-list", "sbom"):
        planted.good("export", name, "--to", kind, "-o", folder / f"exported-{kind}")
    planted.good("pack", name, "-o", folder / "x.envpack", "-vv")
    (folder / "published").mkdir()
    planted.good("install", name, "--publish", folder / "published", "-vv")
    return name


def broken(planted: Planted, server: ChannelServer, world: World, name: str) -> None:
    """What is said when things fail, on purpose, with everything shown."""
    shutil.rmtree(planted.place.prefixes, ignore_errors=True)
    shutil.rmtree(planted.place.folder / "cache", ignore_errors=True)
    for fault in ("404", "500", "html"):
        server.faults = {".conda": fault}  # type: ignore[dict-item]
        assert planted.run("install", name, "-vv").status
    server.faults = {"repodata.json": "404", ".zst": "404"}
    options = world.forge_cuda.options
    assert planted.run("create", "other", *options, "-vv", "--json").status
    assert planted.run("create", "other", *options, "-vv").status
    server.faults = {}


def test_a_token_in_condarc(planted: Planted, by_token: ChannelServer, world: World) -> None:
    channels = "".join(
        f"  {name}: {by_token.url}/t/{TOKEN}\n" for name in ("conda-forge", "pytorch", "nvidia")
    )
    planted.write(planted.place.home / ".condarc", f"custom_channels:\n{channels}")

    name = live(planted, world)
    assert planted.leaks() == []
    lock = (planted.place.envs / name / "conda-lock.yml").read_text()
    assert "https://conda.anaconda.org/conda-forge/" in lock
    assert by_token.url not in lock
    broken(planted, by_token, world, name)
    assert planted.leaks() == []


def test_a_password_in_the_address_of_a_mirror(
    planted: Planted, guarded: ChannelServer, world: World
) -> None:
    """On the command line, where it also comes back in commands to copy."""
    mirror = guarded.url.replace("//", f"//{USER}:{PASSWORD}@")
    name = world.forge_cuda.name("sec")
    planted.good("create", "sec", *world.forge_cuda.options, "--mirror", mirror, "-vv")
    planted.run("check", name, "--availability", "--mirror", mirror)
    assert planted.run("create", "x", "--torch", "9.9", "--mirror", mirror).status == 3
    assert planted.run("create", "x", "--with", "nope", "--mirror", mirror, "--json").status
    assert planted.leaks() == []


def test_a_password_in_netrc(planted: Planted, guarded: ChannelServer, world: World) -> None:
    planted.write(
        planted.place.home / ".netrc", f"machine 127.0.0.1 login {USER} password {PASSWORD}\n"
    )
    (planted.place.home / ".condarc").write_text(
        "custom_channels:\n"
        + "".join(f"  {name}: {guarded.url}\n" for name in ("conda-forge", "pytorch", "nvidia"))
    )

    live(planted, world)
    assert planted.leaks() == []


def test_a_token_in_a_variable_that_environment_yml_names(
    planted: Planted, by_token: ChannelServer, world: World
) -> None:
    """The file that is committed has `$NAME`, and so has the lock; the install fills it in."""
    (planted.place.home / ".condarc").write_text(
        "custom_channels:\n"
        + "".join(
            f"  {name}: {world.root.as_uri()}\n" for name in ("conda-forge", "pytorch", "nvidia")
        )
    )
    site = by_token.root / "site"
    if not site.exists():
        shutil.copytree(world.root / "conda-forge", site)
    planted.place.variables["CHANNEL_CREDENTIAL"] = TOKEN
    channel = f"{by_token.url}/t/$CHANNEL_CREDENTIAL/site"

    name = live(planted, world, "--channel", channel)
    text = (planted.place.envs / name / "environment.yml").read_text()
    assert "/t/$CHANNEL_CREDENTIAL/site" in text
    assert planted.leaks() == []


def test_a_login_that_rattler_keeps(planted: Planted, guarded: ChannelServer, world: World) -> None:
    planted.write(
        planted.place.home / ".rattler" / "credentials.json",
        json.dumps({"127.0.0.1": {"BasicHTTP": {"username": USER, "password": PASSWORD}}}),
    )
    planted.place.variables["ENVFORGE_MIRROR"] = guarded.url

    live(planted, world)
    assert planted.leaks() == []


def test_a_condarc_that_cannot_be_read_is_not_quoted(planted: Planted) -> None:
    """The line that is wrong may be the one with the password."""
    path = planted.place.home / ".condarc"
    planted.write(path, f"channel_alias: https://{USER}:{PASSWORD}@host\n  - x: [\n")
    done = planted.run("list")
    assert done.status == 2
    assert "line 2" in done.err
    assert planted.leaks() == []


def test_a_traceback_of_a_bug_is_redacted(planted: Planted) -> None:
    """It is posted in reports."""
    program = (
        "import envforge.cli as cli\n"
        "import envforge.forge as forge\n"
        "def broken(*_, **__):\n"
        f"    raise RuntimeError('no https://{USER}:{PASSWORD}@host/x nor https://h/t/{TOKEN}/c')\n"
        "forge.Forge.names = broken\n"
        "forge.Forge.environments = broken\n"
        "cli.main(['list'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=planted.place.environment(),
        cwd=planted.place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 70
    assert "RuntimeError" in done.stderr
    assert "https://<secret>@host/x" in done.stderr
    assert not holds(done.stdout.encode() + done.stderr.encode())
