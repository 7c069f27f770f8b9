"""Live progress on stderr: one moving line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import click

from envforge.cli.failure import to_paste
from envforge.cli.rendering.shown import size
from envforge.formats.text.printable import clean
from envforge.formats.text.secret_shapes import hide


class PlainReporter:
    """A line when a step ends; for pipes, files and CI."""

    def __init__(self, stream: TextIO | None = None, verbosity: int = 0) -> None:
        """`verbosity`: -1 quiet (warnings only), 0 normal, 1 with finer detail."""
        self._stream = stream or sys.stderr
        self._verbosity = verbosity

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """See `ports.Reporter.step`."""
        began = time.monotonic()
        if self._verbosity > 0:
            self._line(f"... {title}")
        yield
        if self._verbosity >= 0:
            self._line(f"[{time.monotonic() - began:6.1f} s] {title}")

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        """Shown with -v only: a log file is not a progress bar."""
        if self._verbosity > 0 and total and done == total:
            self._line(f"    {done} {unit} {detail}".rstrip())

    def note(self, message: str) -> None:
        """See `ports.Reporter.note`."""
        if self._verbosity >= 0:
            self._line(f"note: {clean(to_paste(message))}")

    def warn(self, message: str) -> None:
        """See `ports.Reporter.warn`."""
        label = click.style("warning:", fg="yellow", bold=True)
        self._line(f"{label} {clean(to_paste(message))}")

    def _line(self, text: str) -> None:
        click.echo(hide(text), file=self._stream)


class LiveReporter(PlainReporter):
    """A spinner and a bar that vanish, and one line for what is done."""

    def __init__(self, verbosity: int = 0) -> None:
        super().__init__(sys.stderr, verbosity)
        self._bar: Any = None
        self._task: Any = None
        self._title = ""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """See `ports.Reporter.step`; steps may be nested, the innermost is shown."""
        outer_title = self._title
        began = time.monotonic()
        bar, opened = self._open()
        self._title = title
        bar.update(self._task, description=title, completed=0, total=None, amount="")
        try:
            yield
            done = True
        except BaseException:
            done = False
            raise
        finally:
            self._title = outer_title
            if opened:
                bar.stop()
                self._bar = None
            else:
                bar.update(self._task, description=outer_title, completed=0, total=None, amount="")
            mark = click.style("✓" if done else "✗", fg="green" if done else "red")
            self._line(f"{mark} {title} ({time.monotonic() - began:.1f} s)")

    def progress(self, done: int, total: int | None, unit: str = "", detail: str = "") -> None:
        """See `ports.Reporter.progress`."""
        if self._bar is None:
            return
        amount = f"{_amount(done, unit)}{f' of {_amount(total, unit)}' if total else ''} {detail}"
        self._bar.update(self._task, completed=done, total=total, amount=amount[:40])

    def _open(self) -> tuple[Any, bool]:
        if self._bar is not None:
            return self._bar, False
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[amount]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", amount="", total=None)
        self._bar.start()
        return self._bar, True

    def _line(self, text: str) -> None:
        if self._bar is None:
            click.echo(text, err=True)
        else:
            from rich.text import Text

            self._bar.console.print(Text.from_ansi(text), highlight=False, soft_wrap=True)


def _amount(number: int, unit: str) -> str:
    return size(number) if unit == "bytes" else f"{number} {unit}".strip()


def reporter_for(verbosity: int) -> PlainReporter:
    """The reporter that suits stderr: live in a terminal that can move its cursor."""
    if verbosity >= 0 and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveReporter(verbosity)
    return PlainReporter(verbosity=verbosity)
