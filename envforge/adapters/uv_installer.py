"""Locked wheels become packages of a prefix, through `uv pip install -r pylock.toml`.

One route for all cases, since uv's cache keeps a bucket for each way to name a wheel, and offline
only the way that filled it works. This one checks sha256 even of what is cached, leaves other
packages alone (`uv pip sync` would remove conda's) and writes no `direct_url.json`, so that
`pip freeze` shows plain versions.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from envforge.adapters.files import unusable
from envforge.adapters.pack.download import Downloads
from envforge.adapters.uv import Uv, failed, network_failure, pylock_package
from envforge.adapters.wheelhouse import Wheelhouse
from envforge.errors import BrokenPrefix, CorruptArchive, EnvforgeError, Unreachable
from envforge.formats.conda import conda_record
from envforge.formats.python.pylock import write_pylock
from envforge.model.lock import LockedPackage
from envforge.ports import Completed

_LOG = logging.getLogger(__name__)
_MISMATCH = re.compile(
    r"Hash mismatch for `(?P<name>[^=`]+)==[^`]*`\s+Expected:\s+sha256:(?P<expected>\w+)"
    r"\s+Computed:\s+sha256:(?P<found>\w+)"
)
_FAILED = re.compile(r"Failed to (?:download|read|extract|install)[^`]*`(?P<name>[^=`@ ]+)")
_DAMAGED = re.compile(r"Failed to extract archive|[Ii]nvalid zip|unexpected header|[Cc]orrupt")
_BROKE_OFF = re.compile(
    r"error reading a body|end of file before|connection (?:closed|reset)|operation timed out"
    r"|HTTP status (?:client|server) error \((?:408|425|429|502|503|504) ",
    re.IGNORECASE,
)
_URL = re.compile(r"Failed to fetch: `(?P<url>[^`]+)`")
_MISNAMED = re.compile(r"Wheel filename `(?P<file>[^`]+)` does not match package (?:name|version)")


@dataclass(frozen=True, slots=True)
class UvInstaller:
    """`ports.WheelInstaller` through uv."""

    uv: Uv
    wheelhouse: Wheelhouse | None = None
    """Wheels that need no fetching."""
    downloads: Downloads | None = None
    """Fetches what uv gives up: it begins anew where a line breaks, and waits for nobody."""

    def install(
        self, wheels: Sequence[LockedPackage], prefix: Path, *, remove: Sequence[str] = ()
    ) -> None:
        """See `ports.WheelInstaller.install`; the archives are hardlinked out of uv's cache.

        What is there already under the name of a wheel is taken out first, so that a damaged or
        differently built package is replaced even where its version is the same. Nothing is
        byte-compiled.

        Raises:
            BrokenPrefix: no interpreter, or a package of that name belongs to conda.
        """
        python = interpreter_of(prefix)
        names = {canonicalize_name(item) for item in (*remove, *(item.name for item in wheels))}
        present = installed_names(prefix, names)
        _refuse_condas(prefix, present)
        self._uninstall(python, sorted(present))
        if wheels:
            self._install(python, wheels)

    def _uninstall(self, python: Path, names: Sequence[str]) -> None:
        if not names:
            return
        command = ("pip", "uninstall", "--python", str(python), *names)
        done = self.uv.run(*command, cwd=python.parent)
        if done.status:
            raise network_failure(done.stderr) or failed(command, done)

    def _install(self, python: Path, wheels: Sequence[LockedPackage]) -> None:
        fetched: set[str] = set()
        while True:
            command, done = self._try(python, wheels)
            if not done.status:
                return
            given_up = _given_up(done.stderr, wheels)
            if given_up is None or given_up.url in fetched or not self._fetch(given_up):
                raise _failure(done.stderr, wheels) or failed(command, done)
            fetched.add(given_up.url)

    def _fetch(self, wheel: LockedPackage) -> bool:
        """Bring a wheel that uv gave up into the wheelhouse, from where it is taken."""
        if self.downloads is None or self.wheelhouse is None or self.uv.offline:
            return False
        folder = self.wheelhouse.root / ".coming"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = self.downloads.fetch(wheel.url, wheel.sha256, folder)
        except (CorruptArchive, Unreachable) as error:
            _LOG.debug("%s", error)
            return False
        except OSError as error:
            raise unusable(folder, error) from error
        self.wheelhouse.add(wheel, path)
        return True

    def _try(
        self, python: Path, wheels: Sequence[LockedPackage]
    ) -> tuple[tuple[str, ...], Completed]:
        with tempfile.TemporaryDirectory(prefix="envforge-uv-") as name:
            listed = Path(name) / "pylock.toml"
            found = [pylock_package(self._at_hand(item)) for item in wheels]
            listed.write_text(write_pylock(found), encoding="utf-8")
            command = (
                *("pip", "install", "--python", str(python), "--requirements", str(listed)),
                *("--require-hashes", "--no-deps", "--no-build", "--no-compile-bytecode"),
            )
            done = self.uv.run(*command, cwd=Path(name), extra=self._link_mode())
        return command[:4], done

    def _at_hand(self, wheel: LockedPackage) -> LockedPackage:
        """The wheel, under the address of its file where that is here."""
        file = self.wheelhouse.find(wheel) if self.wheelhouse else None
        return replace(wheel, url=file.absolute().as_uri()) if file else wheel

    def _link_mode(self) -> dict[str, str]:
        """Hardlinks, which uv turns into copies where the cache is on another filesystem."""
        return {} if self.uv.environment.get("UV_LINK_MODE") else {"UV_LINK_MODE": "hardlink"}


def interpreter_of(prefix: Path) -> Path:
    """The Python of a prefix.

    Raises:
        BrokenPrefix: there is none.
    """
    for path in (prefix / "bin" / "python", prefix / "python.exe"):
        if path.exists():
            return path.absolute()
    raise BrokenPrefix(
        prefix=str(prefix),
        reason="has no Python, so no wheel can be installed",
        remedy="add `python` to environment.yml, and lock again",
    )


def installed_names(prefix: Path, names: Collection[str]) -> frozenset[str]:
    """Which of these distributions are in the prefix, by normalised name."""
    found = (canonicalize_name(item.name.partition("-")[0]) for item in _dist_infos(prefix))
    return frozenset(name for name in found if name in names)


def _dist_infos(prefix: Path) -> Iterable[Path]:
    for pattern in ("lib/python*/site-packages/*.dist-info", "Lib/site-packages/*.dist-info"):
        yield from prefix.glob(pattern)


def _refuse_condas(prefix: Path, names: Collection[str]) -> None:
    """Uv would take a conda package out file by file, and conda would never know."""
    if not names:
        return
    folders = [
        item.name
        for item in _dist_infos(prefix)
        if canonicalize_name(item.name.partition("-")[0]) in names
    ]
    for record in sorted((prefix / "conda-meta").glob("*.json")):
        brought = conda_record.dist_infos(record.read_bytes())
        owned = next((item for item in folders if item in brought), None)
        if owned:
            name = canonicalize_name(owned.partition("-")[0])
            raise BrokenPrefix(
                prefix=str(prefix),
                reason=f"`{name}` was installed by conda, and is to be a wheel",
                remedy=f"take one of the two `{name}` out of environment.yml, and lock again",
            )


def _failure(stderr: str, wheels: Iterable[LockedPackage]) -> EnvforgeError | None:
    known = tuple(wheels)
    found = _MISMATCH.search(stderr)
    if found and (wheel := _named(found["name"], known)):
        return CorruptArchive(
            url=wheel.url, expected=f"sha256 {found['expected']}", found=found["found"]
        )
    if network := network_failure(stderr):
        return network
    if given_up := _given_up(stderr, known):
        return Unreachable(
            url=given_up.url,
            reason="the download broke off",
            remedy="run the same command again: what was fetched is kept",
        )
    found = _MISNAMED.search(stderr)
    if found and (wheel := _named(found["file"], known)):
        expected = f"{wheel.name} {wheel.version}"
        return CorruptArchive(url=wheel.url, expected=expected, found=found["file"])
    found = _FAILED.search(stderr) if _DAMAGED.search(stderr) else None
    if found and (wheel := _named(found["name"], known)):
        return CorruptArchive(
            url=wheel.url, expected=f"sha256 {wheel.sha256}", found="something that is no wheel"
        )
    return None


def _given_up(stderr: str, wheels: Iterable[LockedPackage]) -> LockedPackage | None:
    """The wheel that uv could not fetch, and that more patience may bring; None: it is no such."""
    if not _BROKE_OFF.search(stderr):
        return None
    known = tuple(wheels)
    at = _URL.search(stderr)
    if at is not None:
        return next((item for item in known if item.url == at["url"]), None)
    found = _FAILED.search(stderr)
    return _named(found["name"], known) if found else None


def _named(told: str, wheels: Iterable[LockedPackage]) -> LockedPackage | None:
    """The wheel that uv speaks of, by name or by file; None: none of ours, so uv's words stay."""
    name = canonicalize_name(told)
    return next(
        (
            item
            for item in wheels
            if canonicalize_name(item.name) == name or item.filename == told.rpartition("/")[2]
        ),
        None,
    )
