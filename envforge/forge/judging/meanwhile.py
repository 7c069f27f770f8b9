"""Two things at once: the world is looked at while a child imports torch."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Meanwhile(Generic[_T]):
    """A function that runs beside us, from now on.

    A daemon thread: an interruption of the main thread ends the program without waiting for it.
    """

    def __init__(self, function: Callable[[], _T]) -> None:
        self._function = function
        self._result: list[_T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._function())
        except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
            self._error = error

    def result(self) -> _T:
        """What it gave; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]
