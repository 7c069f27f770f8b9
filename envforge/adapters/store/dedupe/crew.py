"""Threads that share a pile of work, and all end when one of them fails or a person says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")
THREADS: Final = 4
"""More than processors: some wait for the disk while others hash."""


class Interrupted(Exception):
    """Another thread failed, or a person wants an end."""


class Crew:
    """Some threads."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()

    def check(self) -> None:
        """End this thread if all are to end.

        Raises:
            Interrupted: they are.
        """
        if self.stop.is_set():
            raise Interrupted

    def shared(self, pile: Iterator[T]) -> Iterator[T]:
        """What is left of a pile: each thread iterates over its own of these."""
        while not self.stop.is_set():
            with self._lock:
                item = next(pile, None)
            if item is None:
                return
            yield item

    def run(self, tasks: Sequence[Callable[[], None]]) -> None:
        """Run side by side, to the end of all.

        Raises:
            BaseException: the first failure; the others were told to stop, and did.
        """
        failures: list[BaseException] = []
        running = [threading.Thread(target=self._guard, args=(task, failures)) for task in tasks]
        for thread in running:
            thread.start()
        try:
            for thread in running:
                thread.join()
        except BaseException:  # Ctrl-C
            self.stop.set()
            for thread in running:
                thread.join()
            raise
        if failures:
            raise failures[0]

    def _guard(self, task: Callable[[], None], failures: list[BaseException]) -> None:
        try:
            task()
        except Interrupted:
            return
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            failures.append(error)
            self.stop.set()
