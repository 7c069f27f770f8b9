"""Links packages into a prefix with py-rattler: the program that `rattler_installer` starts.

A process of its own, for three reasons. py-rattler aborts the interpreter at exit in one or two
of a hundred installs, after the work is done (measured with 0.28.0: 3 of 220, by signal 6 or 11;
0 of 400 where the interpreter's shut-down is left out): here that cannot reach the caller. An
interrupted call goes on in rattler's threads: a process can be killed. And certificates can be
named by environment variable only.

It costs little: the caller does not load rattler for an install.

Protocol: one pickled `LinkRequest` comes in on standard input, which stays open: its end means
that the caller is gone, and so are we. Events go out on standard output, each a line of JSON;
the last is `done` or `failed`. Without either, the process died.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from envforge.model.lock import LockedPackage
from envforge.model.settings import Settings

if TYPE_CHECKING:
    from envforge.adapters.rattler_progress import LinkProgress

Say = Callable[[Mapping[str, Any]], None]
_BLOCK: Final = 1 << 20
_FOREVER: Final = 86400.0
"""Seconds: rattler counts a body's time too, so what ends a download is `_Watch`, by silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRequest:
    """Everything the program needs to know."""

    settings: Settings
    prefix: Path
    platform: str
    packages: tuple[LockedPackage, ...]
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Where to read the packages that are not cached, by canonical address; no credentials."""
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of `channels.routes`."""
    reinstall: frozenset[str] = frozenset()
    resume: bool = False


class Failure(Exception):
    """A reason to stop that the caller has words for: an event of the protocol."""

    def __init__(self, kind: str, **facts: str) -> None:
        super().__init__(kind)
        self.event = {"event": "failed", "kind": kind, **facts}


def main() -> None:
    """Read the request, do it, say how it went; never returns."""
    import asyncio  # here, because the caller too imports this module

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller has it too, and kills us
    events = os.dup(1)
    os.dup2(2, 1)  # whatever packages' scripts print is no event

    def say(event: Mapping[str, Any]) -> None:
        os.write(events, json.dumps(event).encode() + b"\n")

    request: LinkRequest = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our own caller
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        say({"event": "done", **asyncio.run(link(request, say))})
    except Failure as failure:
        say(failure.event)
    sys.stderr.flush()
    os._exit(0)  # see above: the interpreter's shut-down is what crashes


def _end_with_caller() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


async def link(request: LinkRequest, say: Say) -> dict[str, Any]:
    """Make the prefix hold these packages.

    Raises:
        Failure: an archive is not what was locked, or cannot be had.
    """
    from envforge.adapters.channels import folder_of
    from envforge.adapters.link_mode import link_mode
    from envforge.adapters.rattler_progress import LinkProgress
    from envforge.adapters.rattler_records import complete_records, open_records, record_path

    missing = [item for item in request.packages if item.url in request.addresses]
    await _verify_files(request, missing)
    remote = {
        item.name: item.filename
        for item in missing
        if folder_of(request.addresses[item.url]) is None
    }
    progress = LinkProgress(say, missing, remote)  # type: ignore[abstract] # the rest does nothing, as is
    import asyncio

    watch = asyncio.create_task(_end_silence(progress, request.settings.timeout, say))
    await _install(request, progress)
    watch.cancel()
    prefix, cache = request.prefix, request.settings.package_cache
    linked = [item for item in request.packages if item.name in set(progress.linked)]
    complete_records(prefix, cache, request.packages if request.resume else missing)
    open_records(prefix, request.packages if request.resume else linked)
    (prefix / "CACHEDIR.TAG").unlink(missing_ok=True)  # backups would skip the prefix
    scripts = [item.name for item in linked if _post_link_script(prefix, item.name).exists()]
    return {
        "downloaded": len(missing),
        "link_mode": link_mode(record_path(prefix, item) for item in linked),
        "skipped_scripts": [] if request.settings.link_scripts else scripts,
        "failed_scripts": progress.failed_scripts,
    }


async def _end_silence(progress: LinkProgress, patience: float, say: Say) -> None:
    """End this process where a download gives no byte for so many seconds."""
    import asyncio

    while True:
        await asyncio.sleep(min(patience / 4, 1.0))
        silent = progress.silent_download(patience)
        if silent is not None:
            message = f"failed to fetch {silent}\nCaused by: operation timed out"
            say({"event": "failed", "kind": "rattler", "message": message})
            os._exit(0)


async def _install(request: LinkRequest, progress: LinkProgress) -> None:
    from rattler.exceptions import InstallerError, LinkError, TransactionError
    from rattler.install import install
    from rattler.platform import Subdir

    from envforge.adapters.rattler_client import make_client
    from envforge.adapters.rattler_records import make_record

    cache = request.settings.package_cache
    try:
        await install(
            [
                make_record(item, cache, request.addresses.get(item.url))
                for item in request.packages
            ],
            target_prefix=request.prefix,
            cache_dir=cache,
            reinstall_packages=set(request.reinstall),
            platform=Subdir(request.platform),
            execute_link_scripts=request.settings.link_scripts,
            show_progress=False,
            client=make_client(request.settings, request.routes, timeout=_FOREVER),
            reporter=progress,
        )
    except (InstallerError, LinkError, TransactionError) as error:
        raise Failure("rattler", message=str(error)) from error


def _post_link_script(prefix: Path, name: str) -> Path:
    return prefix / "bin" / f".{name}-post-link.sh"


async def _verify_files(request: LinkRequest, missing: list[LockedPackage]) -> None:
    """Check files: rattler checks the hash of what it downloads, but takes a file as it is."""
    if not missing:
        return
    import asyncio

    from envforge.adapters.channels import folder_of

    files = [(item, folder_of(request.addresses[item.url])) for item in missing]
    await asyncio.gather(
        *(asyncio.to_thread(_verify, item, path) for item, path in files if path is not None)
    )


def _verify(package: LockedPackage, path: Path) -> None:
    import hashlib

    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure("unreadable", url=package.url, path=str(path), reason=reason) from error
    if digest.hexdigest() != package.sha256:
        raise Failure("corrupt", url=package.url, expected=package.sha256, found=digest.hexdigest())
