"""Carries out a plan: proves what is kept, looks at the others, writes the journal, links.

A set of twins is one thread's work. Threads overlap the disk, hashing and the kernel's freeing of
blocks, all of which go on without Python's lock.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

from envforge.adapters.store.dedupe.crew import THREADS, Crew
from envforge.adapters.store.dedupe.folders import Changed, Folders, why
from envforge.adapters.store.dedupe.journal import Journal
from envforge.adapters.store.dedupe.outcome import Known, Outcome
from envforge.adapters.store.dedupe.reading import Reader
from envforge.adapters.store.dedupe.replacing import replace
from envforge.cache.dedupe_plan import WHOLE, Copy, Proof, Rules, Twins

_AT_ONCE: Final = 32
"""Files open side by side, for each thread."""
_TICK: Final = 0.1
"""Seconds between two reports of progress."""
_FRESH: Final = 60_000_000_000
"""Nanoseconds after which the kernel has written what was changed (30 s, and some for the disk)."""


class Engine:
    """Works through sets of twins."""

    def __init__(
        self,
        *,
        proof: Proof,
        rules: Rules,
        journal: Journal,
        is_known: Callable[[str, Copy], bool],
        first_only: bool = False,
        progress: Callable[[int], None] = lambda _bytes: None,
    ) -> None:
        """`progress` is told the bytes on disk that were dealt with; from one thread at a time."""
        self.proof = proof
        self.rules = rules
        self.journal = journal
        self.is_known = is_known
        self.first_only = first_only
        self._progress = progress
        self.crew = Crew()
        self._lock = threading.Lock()
        self._done = 0
        self._told = 0.0

    def run(self, twins: Sequence[Twins], threads: int = THREADS) -> Outcome:
        """Carry out all of them, the largest first.

        Raises:
            FileNotUsable: the journal cannot be written; what was not written down was not done.
        """
        flush(twins)
        self.journal.open()
        work = iter(sorted(twins, key=lambda item: -item.size))
        workers = [Worker(self) for _ in range(min(threads, max(1, len(twins))))]
        self.crew.run([partial(worker.run, self.crew.shared(work)) for worker in workers])
        outcome = Outcome()
        for worker in workers:
            outcome.add(worker.outcome)
        return outcome

    def tell(self, more: int) -> None:
        """So many bytes were dealt with."""
        with self._lock:
            self._done += more
            if time.monotonic() - self._told > _TICK:
                self._told = time.monotonic()
                self._progress(self._done)


class Worker:
    """One thread's share."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.folders = Folders()
        self.reader = Reader(engine.crew)
        self.outcome = Outcome()

    def run(self, work: Iterable[Twins]) -> None:
        """Until nothing is left."""
        try:
            for twins in work:
                self.carry_out(twins)
                self.engine.tell(twins.size * len(twins.copies))
        finally:
            self.outcome.read = self.reader.read
            self.folders.close()

    def carry_out(self, twins: Twins) -> None:
        """Keep the first copy that is what it says, and link what equals it."""
        waiting = list(twins.copies)
        while len(waiting) > 1:
            kept = waiting.pop(0)
            equal = self._equal(twins.claim, kept, waiting)
            if equal is not None:
                self._link(twins.claim, kept, equal)
                return
            if self.engine.first_only:
                return

    # --- proof ------------------------------------------------------------------------------

    def _equal(self, claim: str, kept: Copy, others: list[Copy]) -> list[Copy] | None:
        """Which others equal `kept`; None: it cannot be kept."""
        if self.engine.proof == "trust-names":
            return others
        read_at = time.time_ns()
        with self._opened(kept) as descriptor:
            if descriptor is None:
                return None
            if self.engine.proof == "compare" and kept.found.st_size > WHOLE:
                digest, equal = self._compared(claim, kept, descriptor, others)
            else:
                digest, equal = self._sampled(claim, kept, descriptor, others)
        if digest != claim:
            self.outcome.damaged.append((kept.path, claim))
            return None
        self.outcome.proven.append(Known(kept, claim, read_at))
        return equal

    def _sampled(
        self, claim: str, kept: Copy, descriptor: int, others: list[Copy]
    ) -> tuple[str, list[Copy]]:
        size = kept.found.st_size
        if self.engine.proof == "default" and self.engine.is_known(claim, kept):
            pieces = self.reader.sampled(descriptor, size, claim)
        else:
            digest, pieces = self.reader.hashed(descriptor, size, claim)
            if digest != claim:
                return digest, []
        equal = []
        for copy in others:
            with self._opened(copy) as other:
                if other is None:
                    continue
                if copy.is_suspect and size > WHOLE:
                    same = self.reader.hashed(other, size, claim).digest == claim
                else:
                    same = self.reader.agrees(other, size, pieces)
            if same:
                equal.append(copy)
            else:
                self.outcome.different.append(copy.path)
        return claim, equal

    def _compared(
        self, claim: str, kept: Copy, descriptor: int, others: list[Copy]
    ) -> tuple[str, list[Copy]]:
        """Side by side, as many at once as may be open."""
        equal: list[Copy] = []
        for start in range(0, len(others), _AT_ONCE):
            with ExitStack() as stack:
                opened = [
                    (copy, other)
                    for copy in others[start : start + _AT_ONCE]
                    if (other := stack.enter_context(self._opened(copy))) is not None
                ]
                descriptors = [other for _, other in opened]
                size = kept.found.st_size
                digest, flags = self.reader.compared(descriptor, descriptors, size, claim)
            if digest != claim:
                return digest, []
            for (copy, _), same in zip(opened, flags, strict=True):
                if same:
                    equal.append(copy)
                else:
                    self.outcome.different.append(copy.path)
        return claim, equal

    @contextmanager
    def _opened(self, copy: Copy) -> Iterator[int | None]:
        """The copy to read; None, and a problem noted, where that is not possible."""
        try:
            descriptor = self.folders.open(copy)
        except (Changed, OSError) as error:
            self._problem(copy.path, error)
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    # --- links ------------------------------------------------------------------------------

    def _link(self, claim: str, kept: Copy, copies: list[Copy]) -> None:
        copies = self._as_open(kept, copies)
        if not copies:
            return
        self.engine.journal.note(claim, kept, copies)
        for number, copy in enumerate(copies):
            self.engine.crew.check()
            try:
                self.outcome.names += replace(self.folders, kept, copy)
            except (Changed, OSError) as error:
                if (
                    isinstance(error, OSError)
                    and error.errno == errno.EMLINK
                    and not self.engine.first_only
                ):
                    self.carry_out(Twins(claim, copies[number:]))  # the next keeps what is left
                    return
                self._problem(copy.path, error)
            else:
                self.outcome.copies += 1
                if not copy.has_other_names:
                    self.outcome.freed += copy.found.st_blocks * 512

    def _as_open(self, kept: Copy, copies: list[Copy]) -> list[Copy]:
        """Those whose access lists and labels are the kept one's: a mode does not tell them."""
        if self.engine.rules.any_mode:
            return copies
        wanted = self._attributes(kept)
        found = [(copy, self._attributes(copy)) for copy in copies]
        for copy, attributes in found:
            if attributes is not None and attributes != wanted:
                self.outcome.problems.append((copy.path, "has other access lists or labels"))
        return [
            copy for copy, attributes in found if attributes is not None and attributes == wanted
        ]

    def _attributes(self, copy: Copy) -> dict[str, bytes] | None:
        """Extended attributes; None, and a problem noted, where they cannot be read."""
        folder, name = copy.names[0]
        try:
            path = f"/proc/self/fd/{self.folders.enter(folder)}/{name}"
            names = os.listxattr(path, follow_symlinks=False)
            return {item: os.getxattr(path, item, follow_symlinks=False) for item in names}
        except (Changed, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOTSUP:
                return {}
            self._problem(copy.path, error)
            return None

    def _problem(self, path: str, error: Changed | OSError) -> None:
        self.outcome.problems.append((path, why(error)))


def flush(twins: Iterable[Twins]) -> None:
    """See that what may be kept is on the disk, before a copy that is there goes.

    huggingface_hub does not flush what it downloads.
    """
    now = time.time_ns()
    fresh = {
        copy.found.st_dev: copy.names[0][0].path
        for item in twins
        for copy in item.copies
        if now - copy.found.st_ctime_ns < _FRESH
    }
    if fresh:
        from envforge.adapters.store.arriving import writeback  # ctypes takes its time

        for path in fresh.values():
            writeback.sync(path)
