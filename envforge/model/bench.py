"""Latency of an environment: what was measured, and what it says beside another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Case = Literal["cold-start", "convnet", "encoder", "decoder", "matmul", "bandwidth"]
CASES: Final[tuple[Case, ...]] = (
    *("cold-start", "convnet", "encoder", "decoder"),
    *("matmul", "bandwidth"),
)
MEANING: Final[Mapping[Case, str]] = {
    "cold-start": "interpreter, import, device, load of weights, first call",
    "convnet": "a convolution net in the shape of ResNet-18, 224 x 224",
    "encoder": "12 layers in the size of BERT base, 128 tokens",
    "decoder": "one token of a GPT-2-sized decoder, 256 in its KV cache",
    "matmul": "one square matrix product",
    "bandwidth": "one copy in memory, read and written bytes",
}
Mode = Literal["eager", "compiled"]
MODES: Final[tuple[Mode, ...]] = ("eager", "compiled")
COMPILABLE: Final[frozenset[Case]] = frozenset({"convnet", "encoder", "decoder"})
Size = Literal["full", "tiny"]
Verdict = Literal["same", "faster", "slower", "noisy"]
Waits = Literal["barrier", "cuda-events"]
"""How it was made sure that the device had ended: a number of the result was read, or events."""

STAGES: Final = ("interpreter", "import", "context", "load", "call")
"""Of a cold start, in their order; `context`: on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cell:
    """One thing that is timed."""

    case: Case
    mode: Mode = "eager"

    @property
    def label(self) -> str:
        """`encoder, compiled`."""
        return self.case if self.mode == "eager" else f"{self.case}, {self.mode}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What the times of one cell come to; seconds."""

    median: float
    """The median of each round, averaged over the rounds (geometric mean)."""
    low: float
    high: float
    """95 % interval of `median`, by bootstrap over rounds; as wide as can be with one round."""
    p95: float
    p99: float
    std: float
    calls: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Everything that was measured of one cell."""

    cell: Cell
    rounds: tuple[tuple[tuple[float, ...], ...], ...] = ()
    """Seconds of each call, by round (a process of its own) and block; empty: `why_not` says why.

    Blocks of two sides with the same place in here were measured one after the other.
    """
    waits: Waits | None = None
    rates: tuple[float, ...] = ()
    """Work a second, of calls in a row; one number a block."""
    unit: str = ""
    """Of the work: `image`, `token`, `FLOP`, `B`."""
    dtype: str = ""
    first: float | None = None
    """Seconds of the very first call, with empty compile caches."""
    result: float | None = None
    """Mean size of what was computed: the same models compute the same."""
    spread: Spread | None = None
    why_not: str = ""
    failed: bool = False
    """Whether `why_not` is a failure, and no lack (a torch without `compile`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One environment or interpreter, and what was measured of it."""

    name: str
    facts: Mapping[str, str | int | float | bool | None]
    """What the numbers depend on: torch, CUDA, processor, threads, GPU, driver, load."""
    lock: str = ""
    """SHA-256 of what the lock installs; empty: none is known."""
    series: tuple[Series, ...] = ()
    starts: tuple[Mapping[str, float], ...] = ()
    """Seconds of each stage of a cold start, a mapping a round."""

    def of(self, cell: Cell) -> Series | None:
        """What was measured of a cell."""
        return next((item for item in self.series if item.cell == cell), None)

    @property
    def failures(self) -> tuple[Series, ...]:
        """Cells that could not be measured though they should."""
        return tuple(item for item in self.series if item.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One cell of two sides."""

    cell: Cell
    ratio: float
    """Time of the first side over that of the second: above 1, the first is slower."""
    low: float
    high: float
    """95 % interval of `ratio`."""
    verdict: Verdict
    paired: bool
    """Whether both were measured in turns; else (a baseline) the machine may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How to measure; two results compare only where these are equal."""

    size: Size = "full"
    batch: int = 1
    threads: int = 0
    """0: as torch decides."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda:0`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """A run of `bench`."""

    options: BenchOptions
    side: Side
    against: Side | None = None
    """Measured in turns with `side`."""
    baseline: Side | None = None
    """Read from a file."""
    threshold: float = 0.1
    """The smallest difference that matters, as a share of the time."""
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What a reader should know of these numbers, one clause each."""

    @property
    def slower(self) -> tuple[Comparison, ...]:
        """What takes longer than it did, or than beside it."""
        return tuple(item for item in self.comparisons if item.verdict == "slower")

    @property
    def failures(self) -> tuple[Series, ...]:
        """What could not be measured, on either side."""
        others = self.against.failures if self.against else ()
        return (*self.side.failures, *others)

    @property
    def passed(self) -> bool:
        """Whether all was measured, and nothing is slower than the baseline."""
        return not self.failures and not (self.baseline and self.slower)
