"""Fetching: many files at once into the store, each by one process only, proven before it shows."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from envforge.adapters.store.arriving import parts
from envforge.adapters.store.arriving.claims import Claim, Claims
from envforge.adapters.store.arriving.parts import Part, Stopped
from envforge.adapters.store.store import Store
from envforge.cache import layout
from envforge.errors import NoSuchModel, WrongBytes
from envforge.model.fetching import Fetched, Wanted
from envforge.ports import Reporter

JOBS: Final = 8
"""Files at once, as huggingface_hub's `snapshot_download`."""
_FIRST_LOOK: Final = 0.02
_LONGEST_LOOK: Final = 0.5
"""Seconds between two looks at what another process fetches."""
_SHOWN_EVERY: Final = 0.1
_PATIENCE: Final = 2.0
"""Seconds that a thread in the network may take to notice that we end."""


class Transfer(Protocol):
    """Carries bytes; `HubTransfer`, or what a test puts in its place."""

    def get(self, wanted: Wanted, part: Part) -> None:
        """Append to the part what it lacks. See `HubTransfer.get`."""


class Stop:
    """Ends all threads of one prefill at their next step."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def now(self) -> None:
        """Ask everybody to end."""
        self._event.set()

    def check(self) -> None:
        """End here, if that was asked.

        Raises:
            Stopped
        """
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait, or end.

        Raises:
            Stopped
        """
        if self._event.wait(seconds):
            raise Stopped


@dataclass
class Fetcher:
    """One prefill's workers."""

    store: Store
    transfer: Transfer
    reporter: Reporter
    stop: Stop = field(default_factory=Stop)
    jobs: int = JOBS

    def fetch(self, missing: Sequence[Wanted]) -> Fetched:
        """Put these files into the store; a lease on them is held by the caller.

        One that is refused does not keep the others from coming.

        Raises:
            WrongBytes, NoSuchModel: for the first file that was refused, when all others are there.
            Unreachable, FileNotUsable: nothing more can come. What has come of files is kept.
        """
        work = _Work(missing)
        meter = _Meter(self.reporter, missing)
        with Claims(self.store.root / layout.PARTS) as claims:
            one = _One(self.store, self.transfer, claims, meter, self.stop)
            threads = [
                threading.Thread(target=self._run, args=(work, one), daemon=True)
                for _ in range(min(self.jobs, len(work)))
            ]
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    while thread.is_alive():
                        thread.join(_LONGEST_LOOK)
            finally:
                self.stop.now()
                end = time.monotonic() + _PATIENCE
                for thread in threads:
                    thread.join(max(0.0, end - time.monotonic()))
        if work.failures:
            for error in work.failures[1:]:
                self.reporter.warn(str(error))
            raise work.failures[0]
        return work.outcome()

    def _run(self, work: _Work, one: _One) -> None:
        """One thread: first what nobody has claimed, then what others were to fetch."""
        while (task := work.next()) is not None:
            wanted, may_wait = task
            try:
                outcome = one.fetch(wanted, may_wait=may_wait)
            except Stopped:
                return
            except (WrongBytes, NoSuchModel) as error:
                work.failures.append(error)
            except BaseException as error:  # noqa: BLE001 - raised again by `fetch`
                work.failures.insert(0, error)
                self.stop.now()
                return
            else:
                work.done(wanted, outcome)


class _Work:
    """What is to do, and what came of it; shared by threads."""

    def __init__(self, missing: Sequence[Wanted]) -> None:
        self._first: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        self._busy: queue.SimpleQueue[Wanted] = queue.SimpleQueue()
        self._outcomes: list[Fetched] = []
        self.failures: list[BaseException] = []
        self._number = 0
        for item in missing:
            self._number += 1
            self._first.put(item)

    def __len__(self) -> int:
        return self._number

    def next(self) -> tuple[Wanted, bool] | None:
        """A file, and whether to wait for another process that fetches it."""
        with suppress(queue.Empty):
            return self._first.get_nowait(), False
        with suppress(queue.Empty):
            return self._busy.get_nowait(), True
        return None

    def done(self, wanted: Wanted, outcome: Fetched | None) -> None:
        """Note what came; None: another process has it."""
        if outcome is None:
            self._busy.put(wanted)
        else:
            self._outcomes.append(outcome)

    def outcome(self) -> Fetched:
        """The sum."""
        return sum(self._outcomes, Fetched())


@dataclass(frozen=True, slots=True)
class _One:
    """How one file comes."""

    store: Store
    transfer: Transfer
    claims: Claims
    meter: _Meter
    stop: Stop

    def fetch(self, wanted: Wanted, *, may_wait: bool) -> Fetched | None:
        """Fetch it, or see that it is there; None: another process is at it."""
        look = _FIRST_LOOK
        while True:
            self.stop.check()
            if is_held(self.store, wanted):
                self.meter.set(wanted, wanted.size)
                return Fetched(by_others=1)
            claim = self.claims.take(wanted.key)
            if claim is not None:
                try:
                    return self._claimed(wanted, claim)
                except _LostClaimError:
                    continue
                finally:
                    self.claims.release(claim)
            if not may_wait:
                return None
            self.meter.set(wanted, parts.at_hand(self._folder).get(wanted.key, 0))
            self.stop.pause(look)
            look = min(look * 1.5, _LONGEST_LOOK)

    @property
    def _folder(self) -> Path:
        return self.store.root / layout.PARTS

    def _claimed(self, wanted: Wanted, claim: Claim) -> Fetched:
        """Look again, since whoever had the claim may have done the work; then do it."""
        if is_held(self.store, wanted):
            self.meter.set(wanted, wanted.size)
            return Fetched(by_others=1)

        def watch(size: int) -> None:
            self.stop.check()
            if claim.is_lost:
                raise _LostClaimError
            self.meter.set(wanted, size)

        path = parts.prepare(self._folder, wanted.key, claim.holder)
        git = bool(layout.SHA1.fullmatch(wanted.blob))
        with Part(path, wanted.size, git=git, watch=watch) as part:
            sha256 = self._fill(wanted, part)
            self.store.name(wanted.blob, sha256)  # first: nobody would name a file that is there
            self.store.insert(path, sha256)
            self.meter.finish()
            return Fetched(files=1, payload=part.received)

    def _fill(self, wanted: Wanted, part: Part) -> str:
        """Have all bytes, and the right ones; the file's sha256.

        Raises:
            WrongBytes: they are others, though all of them came now.
        """
        while True:
            try:
                self.transfer.get(wanted, part)
            except WrongBytes as error:
                error.kept = self._keep(part)
                raise
            sha256, sha1 = part.digests()
            expected, found = _differs(wanted, sha256, sha1)
            if not expected:
                return sha256
            if not part.resumed_at:
                raise WrongBytes(
                    file=wanted.shown, expected=expected, found=found, kept=self._keep(part)
                )
            part.clear()  # what was left by another process may be what is wrong

    def _keep(self, part: Part) -> str:
        return str(self.store.quarantine(part.under_its_hash())) if part.size else ""


class _LostClaimError(Exception):
    """We were silent for so long that another process fetches the file."""


def is_held(store: Store, wanted: Wanted) -> bool:
    """Whether the store has the file, by whichever name is known."""
    sha256 = wanted.sha256 or store.named(wanted.blob)
    return sha256 is not None and store.holds(sha256, wanted.size)


def _differs(wanted: Wanted, sha256: str, sha1: str) -> tuple[str, str]:
    """The first name that the bytes do not have, and the one they have; empty: all is right."""
    if wanted.sha256 and wanted.sha256 != sha256:
        return f"sha256 {wanted.sha256}", sha256
    if sha1 and wanted.blob != sha1:
        return f"git's sha1 {wanted.blob}", sha1
    if not sha1 and wanted.blob != sha256:
        return f"sha256 {wanted.blob}", sha256
    return "", ""


class _Meter:
    """Adds up what has come of all files, and tells it ten times a second at most."""

    def __init__(self, reporter: Reporter, missing: Sequence[Wanted]) -> None:
        self._reporter = reporter
        self._total = sum(item.size for item in missing)
        self._number = len(missing)
        self._come: dict[str, int] = {}
        self._sum = 0
        self._finished = 0
        self._told = 0.0
        self._lock = threading.Lock()

    def set(self, wanted: Wanted, size: int) -> None:
        """So many bytes of the file are here."""
        with self._lock:
            self._sum += size - self._come.get(wanted.key, 0)
            self._come[wanted.key] = size
            now = time.monotonic()
            if now - self._told > _SHOWN_EVERY:
                self._told = now
                self._tell()

    def finish(self) -> None:
        """A file is in the store."""
        with self._lock:
            self._finished += 1
            if self._finished == self._number:
                self._tell()

    def _tell(self) -> None:
        detail = f"{self._finished} of {self._number} files"
        self._reporter.progress(self._sum, self._total, "bytes", detail)
