"""`ports.CondaInstaller` with py-rattler, which runs in a child: see `rattler_link`."""

from __future__ import annotations

import json
import pickle
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from envforge.adapters import package_cache
from envforge.adapters.archive_spool import ArchiveSpool, Progress
from envforge.adapters.channels import folder_of, resolve_channels, routes
from envforge.adapters.process import Child, converse
from envforge.adapters.rattler_link import LinkRequest
from envforge.errors import CorruptArchive, EnvforgeError, FileNotUsable, ToolFailed, Unreachable
from envforge.model.lock import LockedPackage
from envforge.model.settings import Settings
from envforge.model.solving import without_credentials
from envforge.model.wording import listed
from envforge.ports import LinkOutcome

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from envforge.adapters.rattler_link import main; main()"
)
_MISMATCH: Final = re.compile(r"hash mismatch .*expected (?P<expected>\w+), got (?P<found>\w+)")
_FETCHED: Final = re.compile(r"failed to fetch (\S+)")
_STATUS: Final = re.compile(r"\((\d{3}) ([^)]*)\)")
_ERRNO: Final = re.compile(r"([^:\n]*) \(os error (\d+)\)")
_URL: Final = re.compile(r"\w+://[^\s'\")]+")
_LOCAL_ERRORS: Final = frozenset({"1", "13", "28", "30", "122"})
"""EPERM, EACCES, ENOSPC, EROFS, EDQUOT: the disk's, not the network's."""
_BROKEN_OFF: Final = (
    "decoding response body",
    "end of file before",
    "connection closed",
    "timed out",
)
_SHOWN: Final = 8
_LARGE: Final = 64 << 20
"""Bytes of an archive that is too much to begin anew."""


class RattlerInstaller:
    """Fetches, verifies and links conda packages."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self, packages: Sequence[LockedPackage]) -> None:
        """See `ports.CondaInstaller.check`."""
        self.addresses(package_cache.not_cached(self._settings.package_cache, packages))

    def link(
        self,
        packages: Sequence[LockedPackage],
        prefix: Path,
        *,
        platform: str,
        reinstall: frozenset[str] = frozenset(),
        resume: bool = False,
        progress: Progress,
    ) -> LinkOutcome:
        """See `ports.CondaInstaller.link`.

        Raises:
            CorruptArchive: an archive is not what the lock names.
            Unreachable: an archive cannot be fetched, or is not cached and we are offline.
            FileNotUsable: cache or prefix cannot be written.
            ToolFailed: a package's post-link script failed, or rattler died.
        """
        cache = self._settings.package_cache
        again = [item for item in packages if item.name in reinstall]
        damaged = [item for item in again if package_cache.is_damaged(cache, item)]
        missing = {*damaged, *package_cache.not_cached(cache, packages)}
        addresses = self.addresses(sorted(missing))
        for item in damaged:  # or the same damage would be linked again
            package_cache.drop(cache, item)
        request = LinkRequest(
            settings=self._settings,
            prefix=prefix.absolute(),
            platform=platform,
            packages=tuple(packages),
            addresses={url: without_credentials(read) for url, read in addresses.items()},
            routes=self._routes(missing),
            reinstall=reinstall,
            resume=resume,
        )
        return self._patiently(request, progress)

    def _patiently(self, request: LinkRequest, progress: Progress) -> LinkOutcome:
        """Let rattler fetch what is small, and what it gives up is fetched with more patience.

        rattler unpacks while it downloads, which is quicker, and begins anew where a line breaks.
        """
        with ArchiveSpool(self._settings, progress) as spool:
            request = spool.fetched(request, lambda item: (item.size or 0) >= _LARGE)
            try:
                return self._run(request, progress)
            except Unreachable as error:
                if not spool.helps(error):
                    raise
                given_up = error
            missing = {*package_cache.not_cached(request.settings.package_cache, request.packages)}
            try:
                request = spool.fetched(request, missing.__contains__)
            except Unreachable:
                raise given_up from None
            return self._run(replace(request, resume=True), progress)

    def _routes(self, packages: Iterable[LockedPackage]) -> dict[str, tuple[str, ...]]:
        names = sorted({item.channel_url for item in packages})
        return routes([resolve_channels((name,), self._settings)[0] for name in names])

    def addresses(self, missing: Sequence[LockedPackage]) -> dict[str, str]:
        """Where each package is read: its own address, or a mirror's.

        Raises:
            Unreachable: we are offline, and some are on the network; all are named.
        """
        found = {item.url: read_address(item, self._settings) for item in missing}
        remote = [item for item in missing if folder_of(found[item.url]) is None]
        if self._settings.offline and remote:
            raise _offline(remote)
        return found

    def _run(self, request: LinkRequest, progress: Progress) -> LinkOutcome:
        command = [sys.executable, "-I", "-c", _PROGRAM, json.dumps(sys.path)]
        env = {"HOME": str(self._settings.home), **self._settings.environment}
        with converse(command, env=env) as child:
            child.send(pickle.dumps(request))
            event = _follow(child, progress)
            if event is None:
                ended = child.end()
                raise ToolFailed(
                    command=("py-rattler",),
                    status=f"it died with status {ended.status}",
                    output=ended.stderr,
                    remedy="run the same command again: it goes on where this ended",
                )
        if event["event"] == "failed":
            raise self._explain(event, request)
        return _outcome(event)

    def _explain(self, event: dict[str, Any], request: LinkRequest) -> EnvforgeError:
        if event["kind"] == "corrupt":
            return _corrupt(event["url"], event["expected"], event["found"])
        if event["kind"] == "unreadable":
            return Unreachable(
                url=event["path"],
                reason=event["reason"],
                remedy="the archive has gone from its channel: lock again, or use another mirror",
            )
        return explain_rattler(event["message"], request)


def read_address(package: LockedPackage, settings: Settings) -> str:
    """Where a package's archive is read, mirrors and conda's settings considered."""
    return read_addresses(package, settings)[0]


def read_addresses(package: LockedPackage, settings: Settings) -> tuple[str, ...]:
    """The same, and where else it is where that does not answer; with credentials."""
    [channel] = resolve_channels((package.channel_url,), settings)
    return tuple(_below(base, package) for base in (channel.mirror or channel.url, *channel.more))


def _below(base: str, package: LockedPackage) -> str:
    address = f"{base.rstrip('/')}/{package.subdir}/{package.url.rpartition('/')[2]}"
    if "://" in address:
        return address
    return Path(base, package.subdir, package.filename).absolute().as_uri()


def _follow(child: Child, progress: Progress) -> dict[str, Any] | None:
    """Pass progress on; the last event, or None where the child died before it."""
    for line in child.lines():
        event: dict[str, Any] = json.loads(line)
        if event["event"] != "progress":
            return event
        progress(event["done"], event["total"], "packages", event["detail"])
    return None


def _outcome(event: dict[str, Any]) -> LinkOutcome:
    failed = event["failed_scripts"]
    if failed:
        raise ToolFailed(
            command=(f".{failed[0]}-post-link.sh",),
            status="its post-link script failed",
            output="",
            remedy="leave scripts out (`link-scripts = false`), or report it to the channel",
        )
    return LinkOutcome(
        link_mode=event["link_mode"],
        downloaded=event["downloaded"],
        skipped_scripts=tuple(event["skipped_scripts"]),
    )


def explain_rattler(message: str, request: LinkRequest) -> EnvforgeError:
    """Say rattler's words about an install that failed, as one of our errors."""
    fetched = _FETCHED.search(message)
    name = fetched[1] if fetched else ""
    package = next((item for item in request.packages if item.filename == name), None)
    local = _ERRNO.search(message)
    if local and local[2] in _LOCAL_ERRORS:
        place = request.settings.package_cache if package else request.prefix
        return FileNotUsable(
            path=str(place),
            reason=local[1].strip().lower(),
            remedy="free space there or check its permissions, then run the same command again",
        )
    if package is None:
        return ToolFailed(command=("py-rattler",), status="no install", output=_clean(message))
    mismatch = _MISMATCH.search(message)
    if mismatch:
        return _corrupt(package.url, mismatch["expected"], mismatch["found"])
    url = without_credentials(request.addresses.get(package.url, package.url))
    reason = _network_reason(message)
    if reason is None:
        return _corrupt(package.url, package.sha256, f"what does not unpack ({_last(message)})")
    return Unreachable(url=url, reason=reason[0], remedy=reason[1])


def _network_reason(  # noqa: PLR0911 - a table of cases
    message: str,
) -> tuple[str, str] | None:
    """What the network did; None: it delivered something."""
    low = message.lower()
    status = _STATUS.search(message)
    again = "run the same command again: what was fetched is kept"
    if status and status[1] in {"401", "403", "407"}:
        return (
            f"it asks for a login ({status[1]} {status[2]})",
            "put user and password into `~/.netrc` (mode 600), or use `rattler auth login`",
        )
    if status and status[1] in {"404", "410"}:
        return (
            f"it is not there any more ({status[1]} {status[2]})",
            "lock again, or read it from another place with `--mirror`",
        )
    if status:
        return f"the server failed ({status[1]} {status[2]})", f"{again}, or use `--mirror`"
    if "certificate" in low:
        remedy = "set `ssl_verify` in `.condarc` to your site's certificate bundle"
        return f"its certificate is not trusted ({_last(message)})", remedy
    if any(word in low for word in _BROKEN_OFF):
        return f"the download broke off ({_last(message)})", again
    if "error sending request" in low or "dns error" in low or "connect" in low:
        return _last(message).lower(), "check the network and the proxy, or use `--mirror`"
    return None


def _corrupt(url: str, expected: str, found: str) -> CorruptArchive:
    wanted = f"sha256 {expected}"
    got = f"sha256 {found}" if re.fullmatch(r"[0-9a-f]{64}", found) else found
    return CorruptArchive(url=without_credentials(url), expected=wanted, found=got)


def _offline(packages: Sequence[LockedPackage]) -> Unreachable:
    names = [item.filename for item in packages]
    return Unreachable(
        url=without_credentials(packages[0].channel_url),
        reason=(
            f"we are offline, and {len(names)} of the packages"
            f" {'is' if len(names) == 1 else 'are'} not in the package cache:"
            f" {listed(names, _SHOWN)}"
        ),
        remedy="run once without `--offline`, or name a folder with the channels by `--mirror`",
    )


def _last(message: str) -> str:
    """The innermost cause, without addresses (which may hold credentials)."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return _URL.sub("…", lines[-1].removeprefix("Caused by: ")) if lines else "no reason given"


def _clean(message: str) -> str:
    return _URL.sub(lambda found: without_credentials(found[0]), message)
