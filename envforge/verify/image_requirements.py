"""What an image asks of the driver: the language of `NVIDIA_REQUIRE_CUDA`.

`cuda>=12.8 brand=tesla,driver>=535,driver<536`: a blank means or, a comma means and. Every
variable `NVIDIA_REQUIRE_…` must hold. After the reader of libnvidia-container, `src/cli/dsl.c`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_CONDITION: Final = re.compile(
    r"(?P<what>[a-z]+)(?P<how>>=|<=|!=|=|>|<)(?P<value>.+)", re.IGNORECASE
)
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_BRANDS: Final = (
    ("geforce", "geforce"),
    ("titan", "titan"),
    ("quadro rtx", "quadrortx"),
    ("quadro", "quadro"),
    ("tesla", "tesla"),
    ("grid", "grid"),
    ("nvs", "nvs"),
    ("rtx", "nvidiartx"),
)
PREFIX: Final = "NVIDIA_REQUIRE_"
_TRUE: Final = frozenset({"1", "t", "true"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a machine has; None: not known, and then nothing is held against it."""

    cuda: str | None = None
    driver: str | None = None
    arch: str | None = None
    """Compute capability, `8.0`."""
    name: str | None = None
    """Of the GPU, which tells its brand."""

    def of(self, what: str) -> str | None:
        if what == "brand":
            return brand(self.name) if self.name else None
        return {"cuda": self.cuda, "driver": self.driver, "arch": self.arch}.get(what)


def brand(name: str) -> str:
    """As NVML words it, told by the GPU's name."""
    plain = name.lower().removeprefix("nvidia ")
    return next((found for start, found in _BRANDS if plain.startswith(start)), "nvidia")


def requirements(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that ask for something; none where the asking is turned off."""
    if variables.get("NVIDIA_DISABLE_REQUIRE", "").strip().lower() in _TRUE:
        return {}
    return {
        name: value.strip()
        for name, value in variables.items()
        if name.startswith(PREFIX) and value.strip()
    }


def unmet(expression: str, offers: Sequence[Offer]) -> tuple[str, ...]:
    """The conditions that do not hold, of the alternative that is nearest to be met.

    Empty: it is met, for every GPU. What cannot be read counts as met.
    """
    for offer in offers:
        alternatives = [_failed(item.split(","), offer) for item in expression.split()]
        if alternatives and all(alternatives):
            return min(alternatives, key=lambda item: ("brand" in item[0], len(item)))
    return ()


def _failed(conditions: Sequence[str], offer: Offer) -> tuple[str, ...]:
    return tuple(item for item in conditions if item and not _holds(item, offer))


def _holds(condition: str, offer: Offer) -> bool:
    found = _CONDITION.fullmatch(condition.strip())
    if found is None:
        return True
    has = offer.of(found["what"].lower())
    if has is None:
        return True
    compare, wanted = _COMPARE[found["how"]], found["value"].strip()
    if found["what"].lower() == "brand":
        return compare(has, wanted.lower())
    numbers, asked = _numbers(has), _numbers(wanted)
    size = max(len(numbers), len(asked))
    return compare(_filled(numbers, size), _filled(asked, size))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _filled(numbers: tuple[int, ...], size: int) -> tuple[int, ...]:
    return numbers + (0,) * (size - len(numbers))
