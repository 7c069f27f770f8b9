"""Where the bytes of members come from: fetched a few files ahead of the one that is written."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from envforge.adapters.channels import folder_of
from envforge.adapters.files import unusable
from envforge.adapters.pack.download import Downloads
from envforge.adapters.pack.writing import Differs, PackWriter
from envforge.adapters.rattler_installer import read_address
from envforge.adapters.wheelhouse import Wheelhouse
from envforge.errors import CorruptArchive, EnvforgeError, Unreachable, WrongBytes
from envforge.model.lock import LockedPackage
from envforge.model.settings import Settings
from envforge.model.solving import without_credentials
from envforge.model.wording import listed
from envforge.team.pack_plan import PlannedMember

_AT_ONCE: Final = 4
_AHEAD: Final = 8
"""Files that lie in the working folder at most, besides the one that is written."""
_NAMED: Final = 8
"""That a message names; more are counted."""


@dataclass(frozen=True)
class Supply:
    """Finds, and fetches, what members are made of."""

    settings: Settings
    downloads: Downloads
    wheelhouse: Wheelhouse
    folder: Path
    """Of the files on their way; kept where a run ends early."""
    blob: Callable[[str], Path]
    """Where the store has a file."""

    def check(self, packages: Iterable[LockedPackage]) -> None:
        """See that nothing has to be fetched where we are offline.

        Raises:
            Unreachable: something would; all of it is named.
        """
        remote = [item for item in packages if self._local(item) is None]
        if not self.settings.offline or not remote:
            return
        names = listed([item.filename for item in remote], _NAMED)
        raise Unreachable(
            url=without_credentials(remote[0].channel_url),
            reason=f"we are offline, and a pack needs archives: {names}",
            remedy="run it without `--offline`, or name a folder with the channels by `--mirror`",
        )

    def archive(self, package: LockedPackage) -> Path:
        """The archive as a file, proven if it was fetched.

        Raises:
            CorruptArchive, Unreachable, FileNotUsable
        """
        local = self._local(package)
        if local is not None:
            return local
        return self.downloads.fetch(self._address(package), package.sha256, self.folder)

    def _address(self, package: LockedPackage) -> str:
        return package.url if package.manager == "pip" else read_address(package, self.settings)

    def _local(self, package: LockedPackage) -> Path | None:
        """A file that is here already; None: it has to be fetched."""
        if package.manager == "pip" and (kept := self.wheelhouse.find(package)):
            return kept
        return folder_of(self._address(package))

    # --- into the pack ----------------------------------------------------------------------

    def write(self, members: Iterable[PlannedMember], writer: PackWriter) -> Iterator[str]:
        """Write these members in order; the name of each, once it is written.

        Raises:
            CorruptArchive, WrongBytes: something is not what its lock says.
            Unreachable, FileNotUsable
        """
        self.downloads.stop.clear()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            coming: deque[tuple[PlannedMember, Future[Path]]] = deque()
            try:
                for member in members:
                    coming.append((member, pool.submit(self._come, member)))
                    if len(coming) > _AHEAD:
                        yield self._next(coming, writer)
                while coming:
                    yield self._next(coming, writer)
            finally:
                self.downloads.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)

    def _come(self, member: PlannedMember) -> Path:
        if member.package is not None:
            return self.archive(member.package)
        if member.data is not None:
            return Path()
        return member.file or self.blob(member.sha256)

    def _next(self, coming: deque[tuple[PlannedMember, Future[Path]]], writer: PackWriter) -> str:
        member, future = coming.popleft()
        path = future.result()
        with _opened(member, path) as (stream, size):
            try:
                writer.add(member.name, member.kind, size, stream, member.sha256)
            except Differs as error:
                raise _differs(member, path, error.found) from error
        if path.parent == self.folder and member.package is not None:
            path.unlink(missing_ok=True)
        return member.name


@contextmanager
def _opened(member: PlannedMember, path: Path) -> Iterator[tuple[BinaryIO, int]]:
    if member.data is not None:
        yield io.BytesIO(member.data), len(member.data)
        return
    try:
        stream = path.open("rb")
    except OSError as error:
        raise unusable(path, error) from error
    with stream:
        yield stream, path.stat().st_size


def _differs(member: PlannedMember, path: Path, found: str) -> EnvforgeError:
    expected = f"sha256 {member.sha256}"
    if member.package is None:
        return WrongBytes(file=str(path), expected=expected, found=found)
    url = without_credentials(member.package.url)
    return CorruptArchive(url=url, expected=expected, found=found)
