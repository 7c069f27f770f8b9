"""Times one or two sides in turns, round by round, until the intervals are narrow enough.

A round is a fresh process of each side. Who begins changes from round to round, and within a
round from block to block.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from envforge.adapters.bench_child import BenchChild, bench_child, forget_pages
from envforge.around.bench import bench_answers
from envforge.around.bench.bench_answers import Block, Declined, Failed, Garbled, Prepared
from envforge.around.bench.bench_statistics import is_narrow, levels_of, quotients_of, spread_of
from envforge.errors import ToolFailed
from envforge.forge.benching.sides import Timed
from envforge.model.bench import BenchOptions, Cell, Series, Side, Waits
from envforge.ports import Reporter

START: Final = Cell(case="cold-start")
_BLOCK: Final = 0.15
"""Seconds that the calls of a block take together, roughly."""
_FEWEST, _MOST = 3, 50
"""Calls in a block, however long or short one is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    least: int = 5
    """Rounds; an interval from fewer is hardly one."""
    most: int = 20
    blocks: int = 4
    """Of each side in a round."""
    seconds: float = 900.0
    """After which no round is begun but the first; compiling, before it, is not counted."""
    timeout: float = 600.0
    """Seconds for one answer: an import, a compilation, a block."""
    threshold: float = 0.1


@dataclass(slots=True)
class _Gathered:
    """One cell of one side, while it is measured."""

    rounds: list[tuple[tuple[float, ...], ...]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    waits: Waits | None = None
    prepared: Prepared | None = None
    """At the first time, when the compile caches were empty."""
    why_not: str = ""
    failed: bool = False

    def leave(self, why: Declined | Failed) -> None:
        """It is not measured, and that is why; what there is of it is no result."""
        self.why_not, self.failed = why.reason, isinstance(why, Failed)
        self.rounds.clear()


class Measuring:
    """One run of `bench`."""

    def __init__(
        self,
        sides: Sequence[Timed],
        cells: Sequence[Cell],
        *,
        options: BenchOptions,
        effort: Effort,
        reporter: Reporter,
        scratch: Path,
        approve: Callable[[Mapping[str, bench_answers.Fact]], None] = lambda _: None,
    ) -> None:
        """Nothing is started yet.

        Args:
            sides: one or two.
            cells: what to time.
            options: what the sides are told.
            effort: how much.
            reporter: is told of rounds.
            scratch: an empty folder, on the disk that a cold start is to load from.
            approve: is handed the facts of the first side before anything is timed; may raise.
        """
        self._approve = approve
        self._sides = sides
        self._cells = cells
        self._options = options
        self._effort = effort
        self._reporter = reporter
        self._scratch = scratch
        self._found = {(side, cell): _Gathered() for side in range(len(sides)) for cell in cells}
        self._starts: list[list[Mapping[str, float]]] = [[] for _ in sides]
        self._facts: list[Mapping[str, bench_answers.Fact]] = [{} for _ in sides]
        self._busy: Cell | None = None
        self._asked = 0
        """Which side was asked last: where a child ends, this is whose it was."""
        self.notes: list[str] = []

    def run(self) -> tuple[Side, ...]:
        """Measure, and sum up.

        Raises:
            ToolMissing, ToolFailed: an interpreter does not start, or cannot import torch.
        """
        with self._reporter.step("warming up, with empty compile caches"):
            self._round(0, self._warm_up)
        until = time.monotonic() + self._effort.seconds
        for number in range(1, self._effort.most + 1):
            wanted = self._unsettled(number)
            if not wanted:
                break
            if number > 1 and time.monotonic() > until:
                self.notes.append(f"stopped after {self._effort.seconds:g} s")
                break
            with self._reporter.step(f"round {number}: {_named(wanted)}"):
                self._round(number, lambda children, number=number, wanted=wanted: (
                    self._measure(children, number, wanted)
                ))  # fmt: skip
        return tuple(map(self._summed, range(len(self._sides))))

    # --- rounds -----------------------------------------------------------------------------

    def _round(self, number: int, work: Any) -> None:
        """Start a process of each side and work with them; one that ends badly ends the round."""
        self._busy = None
        order = range(len(self._sides))
        try:
            with ExitStack() as stack:
                children: dict[int, BenchChild] = {}
                for side in reversed(order) if number % 2 else order:
                    children[side] = self._start(stack, side, number)
                work(children)
        except ToolFailed as error:
            self._lose(error)
            if number == 0 and self._open_cells():
                self._round(0, work)  # the cells that were not reached

    def _lose(self, error: ToolFailed) -> None:
        """A process ended: it is the cell's failure, unless there was none yet."""
        if self._busy is None:
            raise error
        last = error.output.strip().splitlines()
        why = f"{error.status}: {last[-1][:200]}" if last else f"{error.status}"
        self._found[self._asked, self._busy].leave(Failed(reason=f"it ended: {why}"))

    def _start(self, stack: ExitStack, side: int, number: int) -> BenchChild:
        timed, path = self._sides[side], self._weights(side)
        self._asked = side
        given: dict[str, Any] = {}
        if path.exists():
            given["weights"] = str(path)
            forget_pages(path)
        child = stack.enter_context(
            bench_child(
                timed.interpreter,
                self._options,
                environment=self._variables(side),
                timeout=self._effort.timeout,
            )
        )
        answer = child.ask("start", **given)
        if isinstance(answer, Failed):
            look = shlex.join(("envforge", "verify", "--python", str(timed.interpreter)))
            remedy = f"it has to import torch; `{look}` says what is there"
            raise child.failed(answer.reason, remedy=remedy)
        with _making_sense(child):
            started = bench_answers.started(answer)
        if not self._facts[side]:
            self._facts[side] = started.facts
            if side == 0:
                self._approve(started.facts)
        if number > 0 and START in self._cells:
            self._starts[side].append(started.stages)
            seconds = sum(started.stages.values())
            self._found[side, START].rounds.append(((seconds,),))
            self._found[side, START].waits = (
                "barrier" if started.facts.get("device") == "cpu" else "cuda-events"
            )
        return child

    def _variables(self, side: int) -> dict[str, str]:
        """With compile caches of this run alone: the first call finds them empty."""
        caches = self._scratch / f"caches-{side}"
        return {
            **self._sides[side].variables,
            "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
            "TRITON_CACHE_DIR": str(caches / "triton"),
            "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
            "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": "0",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no pool of processes beside what is timed
        }

    def _weights(self, side: int) -> Path:
        return self._scratch / f"weights-{side}.pt"

    # --- the first round --------------------------------------------------------------------

    def _warm_up(self, children: Mapping[int, BenchChild]) -> None:
        for side, child in children.items():
            self._asked = side
            if START in self._cells and not self._weights(side).exists():
                answer = child.ask("weights", path=str(self._weights(side)))
                if isinstance(answer, Failed):
                    raise child.failed(answer.reason)
            for cell in self._open_cells():
                self._busy = cell
                gathered = self._found[side, cell]
                if gathered.prepared is None and not gathered.why_not:
                    found = self._prepare(child, cell)
                    if isinstance(found, Prepared):
                        gathered.prepared = found
                    else:
                        gathered.leave(found)
                    child.ask("drop")
            self._busy = None

    def _open_cells(self) -> list[Cell]:
        """Those that some side has neither prepared nor left."""
        return [
            cell
            for cell in self._cells
            if cell != START
            and any(
                found.prepared is None and not found.why_not
                for found in (self._found[side, cell] for side in range(len(self._sides)))
            )
        ]

    def _prepare(self, child: BenchChild, cell: Cell) -> Prepared | Declined | Failed:
        answer = child.ask("prepare", case=cell.case, mode=cell.mode)
        if isinstance(answer, Failed):
            return answer
        with _making_sense(child):
            return bench_answers.prepared(answer)

    # --- the others -------------------------------------------------------------------------

    def _measure(
        self, children: Mapping[int, BenchChild], number: int, cells: Sequence[Cell]
    ) -> None:
        for cell in cells:
            sides = self._able(cell)
            if cell == START or not sides:
                continue
            self._busy = cell
            blocks = self._in_turns({side: children[side] for side in sides}, cell, number)
            for side, timed in blocks.items():
                gathered = self._found[side, cell]
                gathered.rounds.append(tuple(block.seconds for block in timed))
                gathered.rates += [block.rate for block in timed if block.rate]
                gathered.waits = timed[0].waits
        self._busy = None

    def _able(self, cell: Cell) -> list[int]:
        return [side for side in range(len(self._sides)) if not self._found[side, cell].why_not]

    def _in_turns(
        self, children: Mapping[int, BenchChild], cell: Cell, number: int
    ) -> dict[int, list[Block]]:
        """The blocks of one cell in one round; of no side, where one fails."""
        typical = []
        for side, child in children.items():
            self._asked = side
            found = self._prepare(child, cell)
            if not isinstance(found, Prepared):
                self._found[side, cell].leave(found)
                return {}
            typical.append(found.typical)
        calls = min(max(round(_BLOCK / max(typical)), _FEWEST), _MOST)  # the same on both sides
        blocks: dict[int, list[Block]] = {side: [] for side in children}
        for index in range(self._effort.blocks):
            for side in sorted(children, reverse=(number + index) % 2 == 1):
                self._asked = side
                in_a_row = calls if index == 0 else 0
                answer = children[side].ask("block", calls=calls, in_a_row=in_a_row)
                if isinstance(answer, Failed):
                    self._found[side, cell].leave(answer)
                    return {}
                with _making_sense(children[side]):
                    blocks[side].append(bench_answers.block(answer, calls))
        for child in children.values():
            child.ask("drop")
        return blocks

    # --- the end ----------------------------------------------------------------------------

    def _unsettled(self, number: int) -> list[Cell]:
        """What a further round is for: all cells at first, then those whose interval is wide."""
        able = [cell for cell in self._cells if self._able(cell)]
        if number <= self._effort.least:
            return able
        return [cell for cell in able if not self._is_settled(cell)]

    def _is_settled(self, cell: Cell) -> bool:
        rounds = [self._found[side, cell].rounds for side in self._able(cell)]
        alone = len(rounds) == 1
        values = levels_of(rounds[0]) if alone else quotients_of(*rounds)
        return is_narrow(values, self._effort.threshold, alone=alone)

    def _summed(self, side: int) -> Side:
        return Side(
            name=self._sides[side].name,
            facts=self._facts[side],
            lock=self._sides[side].lock,
            series=tuple(_series(cell, self._found[side, cell]) for cell in self._cells),
            starts=tuple(self._starts[side]),
        )


def _series(cell: Cell, found: _Gathered) -> Series:
    if not found.rounds:
        why = found.why_not or "no round of it was measured"
        return Series(cell=cell, why_not=why, failed=found.failed or not found.why_not)
    series = Series(
        cell=cell,
        rounds=tuple(found.rounds),
        waits=found.waits,
        rates=tuple(found.rates),
        spread=spread_of(found.rounds),
    )
    if found.prepared is None:
        return series
    first = found.prepared
    return replace(
        series, unit=first.unit, dtype=first.dtype, first=first.first, result=first.result
    )


def _named(cells: Sequence[Cell]) -> str:
    return ", ".join(dict.fromkeys(cell.case for cell in cells))


@contextmanager
def _making_sense(child: BenchChild) -> Iterator[None]:
    try:
        yield
    except Garbled as error:
        raise child.failed(f"its answer makes no sense: {error}") from error
