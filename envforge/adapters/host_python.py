"""`--python host`: a conda channel of one package, made from an interpreter of this machine.

For sites that reach a package index and no conda channel. The package holds CPython and its
standard library; C libraries (OpenSSL, SQLite, zlib …) stay the machine's, so the package is
bound to it, and so is a lock that names it. It must not be mixed with packages of conda-forge.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.conda_archive import as_json, file_digests, write_conda
from envforge.adapters.files import read_text, unusable, write_text
from envforge.adapters.host_probe import HostInterpreter, probe
from envforge.adapters.host_stage import Staged, fingerprint, stage
from envforge.adapters.process import RealProcesses
from envforge.model.lock import LockedPackage
from envforge.model.machine import Platform
from envforge.ports import Processes, Reporter

_LOG = logging.getLogger(__name__)
_LAYOUT: Final = 1
"""Part of the content hash: changes when this code lays packages out differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """A channel with one Python in it."""

    channel_url: str
    """`file:` address, without a trailing slash."""
    version: str
    build: str
    """`host_` and a hash of the content: equal content, equal package."""
    platform: Platform
    path: Path
    """The package."""
    sha256: str
    md5: str
    size: int
    """Bytes of the package."""
    depends: tuple[str, ...]
    """`__glibc >=2.34`: the newest C library version its files ask for."""
    system_libraries: tuple[str, ...]
    """Files of the machine that it loads."""

    @property
    def min_glibc(self) -> str | None:
        """The oldest C library it runs on; None: it asks for none."""
        found = (item.partition(">=") for item in self.depends)
        return next((version for name, _, version in found if name.strip() == "__glibc"), None)

    @property
    def series(self) -> str:
        """`3.11`."""
        return ".".join(self.version.split(".")[:2])

    def locked(self) -> LockedPackage:
        """The package as a lock holds it; machine-local, as its `file:` address shows."""
        return LockedPackage(
            platform=self.platform,
            name="python",
            version=self.version,
            build=self.build,
            url=self.path.as_uri(),
            sha256=self.sha256,
            md5=self.md5,
            depends=self.depends,
            size=self.size,
        )


def build_channel(
    cache: Path,
    interpreter: Path | None,
    reporter: Reporter,
    *,
    processes: Processes | None = None,
) -> HostPython:
    """Make the channel, or find it in the cache where the interpreter is unchanged.

    Args:
        cache: the folder for these channels, which locks then name.
        interpreter: the Python to repack; None: the one that runs envforge. A virtual
            environment stands for the Python it was made from.
        reporter: is told of the step and of modules left out.
        processes: starts the interpreter; None: really.

    Raises:
        InvalidValue: an interpreter that would not work when repacked, with the reason.
        ToolMissing: there is no such interpreter.
        FileNotUsable: the cache cannot be written.
    """
    processes = processes or RealProcesses()
    host = probe(processes, interpreter or Path(sys.executable))
    root = cache.absolute()
    known = root / f"{fingerprint(host, _LAYOUT)}.json"
    found = _recall(known)
    if found is not None:
        return found
    with reporter.step(f"packing Python {host.version} of this machine"):
        made = _build(root, host, processes, reporter)
    write_text(known, json.dumps({**asdict(made), "path": str(made.path)}, indent=2) + "\n")
    return made


def _recall(known: Path) -> HostPython | None:
    """What was made from the same files before, while the package is still there."""
    if not known.is_file():
        return None
    try:
        fields = json.loads(read_text(known))
        lists = {key: tuple(fields[key]) for key in ("depends", "system_libraries")}
        found = HostPython(**{**fields, **lists, "path": Path(fields["path"])})
    except (ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s is not ours, and is made anew: %s", known, error)
        return None
    whole = found.path.is_file() and found.path.stat().st_size == found.size
    return found if whole else None


def _build(
    root: Path, host: HostInterpreter, processes: Processes, reporter: Reporter
) -> HostPython:
    with _working_folder(root) as work:
        staged = stage(host, work / "stage", processes)
        for module in staged.dropped:
            reporter.warn(f"left out of the host's Python, its library is missing: `{module}`")
        build = f"host_{_content_hash(staged)}"
        channel = work / "channel"
        package = channel / host.platform / f"python-{host.version}-{build}.conda"
        package.parent.mkdir(parents=True)
        (channel / "noarch").mkdir()
        write_conda(package, work / "stage", staged.entries, _info(host, staged, build))
        sha256, md5 = file_digests(package)
        _index(channel)
        final = _publish(channel, root / build)
    path = final / package.relative_to(channel)
    return HostPython(
        channel_url=final.as_uri(),
        version=host.version,
        build=build,
        platform=host.platform,
        path=path,
        sha256=sha256,
        md5=md5,
        size=path.stat().st_size,
        depends=_depends(staged),
        system_libraries=staged.system_libraries,
    )


@contextmanager
def _working_folder(root: Path) -> Iterator[Path]:
    """A folder on the same filesystem as the result, gone at the end."""
    work = root / f".{secrets.token_hex(6)}.tmp"
    try:
        (work / "stage").mkdir(parents=True)
        yield work
    except OSError as error:
        raise unusable(root, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(channel: Path, final: Path) -> Path:
    """Put the channel in its place; where another process was faster, its equal one stays."""
    try:
        channel.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        # The index carries the moment it was made, the package does not: put the package back,
        # in case it was lost or damaged, and keep the index that locks were solved with.
        for file in (item for item in channel.rglob("*") if item.is_file()):
            target = final / file.relative_to(channel)
            if file.suffix == ".conda" or not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
    return final


def _content_hash(staged: Staged) -> str:
    """Over all files but bytecode, which says nothing that the sources do not."""
    told = [item.paths_json() for item in sorted(staged.entries) if item.path[-4:] != ".pyc"]
    return hashlib.sha256(as_json([_LAYOUT, told])).hexdigest()[:12]


def _depends(staged: Staged) -> tuple[str, ...]:
    return (f"__glibc >={staged.glibc[0]}.{staged.glibc[1]}",)


def _info(host: HostInterpreter, staged: Staged, build: str) -> dict[str, bytes]:
    index = {
        "name": "python",
        "version": host.version,
        "build": build,
        "build_number": 0,
        "subdir": host.platform,
        "arch": {"linux-64": "x86_64", "linux-aarch64": "aarch64"}[host.platform],
        "platform": "linux",
        "depends": list(_depends(staged)),
        "license": "PSF-2.0",
    }
    about = {
        "summary": "CPython, repacked from an interpreter of this machine by envforge",
        "description": "Bound to this machine: it loads the system libraries listed here.",
        "home": "https://www.python.org/",
        "license": "PSF-2.0",
        "extra": {
            "system_libraries": list(staged.system_libraries),
            "left_out": list(staged.dropped),
        },
    }
    return {"index.json": as_json(index), "about.json": as_json(about)}


def _index(channel: Path) -> None:
    from rattler.index import index_fs

    asyncio.run(index_fs(channel, write_zst=False, write_shards=False))
