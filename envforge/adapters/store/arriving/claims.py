"""Claims: one process fetches a file, the others wait for it, with or without working locks.

A claim is a symbolic link that points nowhere and whose target says whose it is: made in one
step, by one process only, on local disks and network ones alike. `flock` is not used: on some
filesystems it succeeds for everybody (huggingface_hub#4228, #4306). A claim whose process has
ended is taken over. Where that cannot be seen, on another machine, a claim that nobody has
touched for two minutes, by our own clock, counts as left.

A claim saves work; nothing depends on it. Should two hold the same one after all, both fetch into
files of their own, both prove the hash, and the second finds the file there.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

from envforge.adapters.files import unusable
from envforge.adapters.store import holders

if TYPE_CHECKING:
    from typing_extensions import Self

SUFFIX: Final = ".claim"
_BEAT: Final = 15.0
"""Seconds between two signs of life."""
SILENT: Final = 120.0
"""Seconds without one, watched by us, after which a claim of another machine is left.

NFS shows other clients' changes up to 60 s late (`acregmax` in nfs(5))."""


class Claim:
    """A file that we, and only we, are to fetch."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        self.holder = holder
        self.is_lost = False
        """Another process has taken it over, since we were silent for so long."""

    def beat(self) -> None:
        """Show that we live, or notice that we were taken for dead."""
        if _holder(self.path) == self.holder:
            with suppress(FileNotFoundError):
                os.utime(self.path, follow_symlinks=False)
        else:
            self.is_lost = True

    def give_back(self) -> None:
        """Let others have it, unless they do already."""
        if _holder(self.path) == self.holder:
            self.path.unlink(missing_ok=True)


class Claims:
    """The claims of one prefill; kept alive by one thread while the `with` lasts."""

    def __init__(self, folder: Path, *, beat: float = _BEAT, silent: float = SILENT) -> None:
        self._folder = folder
        self._beat = beat
        self._silent = silent
        self._held: set[Claim] = set()
        self._seen: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        for claim in tuple(self._held):  # of threads that still hang in the network
            self.release(claim)

    def take(self, key: str) -> Claim | None:
        """Claim a file; None: a process that lives, as far as can be told, has it.

        Raises:
            FileNotUsable: the store cannot be written.
        """
        path, mine = self._folder / f"{key}{SUFFIX}", holders.me()
        try:
            if not self._make(path, mine):
                return None
        except OSError as error:
            raise unusable(path, error) from error
        claim = Claim(path, mine)
        with self._lock:
            self._held.add(claim)
        return claim

    def _make(self, path: Path, mine: str) -> bool:
        try:
            path.symlink_to(mine)
        except FileExistsError:
            theirs = _holder(path)
            is_left = theirs is not None and self._is_left(path, theirs)
            return is_left and _replace(path, str(theirs), mine)
        return True

    def release(self, claim: Claim) -> None:
        """Give a claim back."""
        with self._lock:
            self._held.discard(claim)
        claim.give_back()

    def _is_left(self, path: Path, theirs: str) -> bool:
        gone = holders.is_gone(theirs)
        if gone is not None:
            return gone
        try:
            touched = path.lstat().st_mtime_ns
        except FileNotFoundError:
            return False
        before, since = self._seen.get(theirs, (None, 0.0))
        if before != touched:
            self._seen[theirs] = (touched, time.monotonic())
            return False
        return time.monotonic() - since > self._silent

    def _keep(self) -> None:
        while not self._ended.wait(self._beat):
            with self._lock:
                held = tuple(self._held)
            for claim in held:
                claim.beat()


def _holder(path: Path) -> str | None:
    """Whose claim it is; None: there is none."""
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return None


def _replace(path: Path, theirs: str, mine: str) -> bool:
    """Take a left claim over; False: another process is at it, or has done so.

    Many find it left at the same time. Whoever makes the second link may exchange the first, and
    looks once more: it can be another's by then.
    """
    turn = path.with_name(f"{path.name}.{theirs}")
    try:
        turn.symlink_to(mine)
    except FileExistsError:
        _free(turn)
        return False
    try:
        if _holder(path) != theirs:
            return False
        aside = path.with_name(f"{path.name}.{mine}")
        aside.symlink_to(mine)
        aside.rename(path)
        return True
    finally:
        turn.unlink(missing_ok=True)


def _free(turn: Path) -> None:
    """Remove the second link of a process that was killed between two steps."""
    with suppress(FileNotFoundError):
        is_old = time.time() - turn.lstat().st_mtime > SILENT
        if holders.is_gone(str(turn.readlink())) or is_old:
            turn.unlink()
