"""Packages asked for more than once: merged where they agree, refused where they do not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envforge.errors import InvalidValue
from envforge.formats.conda import conda_spec
from envforge.model.choice import Choice
from envforge.model.cuda import accelerator_name
from envforge.model.spec import TORCH_NAMES, Dependency

_CUDA_PINS: Final = frozenset({"pytorch-cuda", "cudatoolkit", "cuda-version"})
"""Packages whose version *is* the CUDA."""
_CUDA_ONLY: Final = _CUDA_PINS | {"pytorch-gpu"}
_CPU_ONLY: Final = frozenset({"cpuonly", "pytorch-cpu"})
_LAST_TOOLKIT: Final = (11, 8)
"""conda-forge/cudatoolkit-feedstock ends there; CUDA 12 is split into packages."""
_OPTIONS: Final = {"pytorch": "--torch", "torch": "--torch", "python": "--python"}


@dataclass(slots=True)
class Wishes:
    """Collects dependencies in order; `pin` first, then `add`, then `suggest`."""

    choice: Choice
    _pinned: dict[str, Dependency] = field(default_factory=dict)
    _added: dict[str, Dependency] = field(default_factory=dict)
    _given: dict[str, str] = field(default_factory=dict)

    def pin(self, dependency: Dependency) -> None:
        """A line that follows from the request itself."""
        self._pinned[dependency.name] = dependency

    def add(self, dependency: Dependency, *, given_as: str) -> None:
        """A package that a person asked for.

        Raises:
            InvalidValue: it contradicts a pin, the accelerator, or an earlier wish.
        """
        name = self._own_name(dependency.name)
        if name in _CUDA_ONLY | _CPU_ONLY and not self._fits_accelerator(dependency, given_as):
            return
        dependency = replace(dependency, name=name)
        if name in self._pinned:
            self._pinned[name] = _narrowed(self._pinned[name], dependency, given_as)
        elif name in self._added:
            earlier = self._given[name]
            self._added[name] = _joined(self._added[name], dependency, earlier, given_as)
        else:
            self._added[name], self._given[name] = dependency, given_as

    def suggest(self, dependency: Dependency) -> None:
        """A template's package: taken where nobody has said anything about it."""
        name = self._own_name(dependency.name)
        if name not in self._pinned and name not in self._added:
            self._added[name] = replace(dependency, name=name)

    def dependencies(self) -> tuple[Dependency, ...]:
        """Pins first, the rest in the order it was asked for."""
        return (*self._pinned.values(), *self._added.values())

    def _own_name(self, name: str) -> str:
        """Torch is `pytorch` to conda and `torch` on the registry; people write either."""
        if name in TORCH_NAMES:
            return "torch" if self.choice.source == "wheels" else "pytorch"
        return name

    def _fits_accelerator(self, dependency: Dependency, given_as: str) -> bool:
        """Whether the package has still to be asked for.

        Raises:
            InvalidValue: it is for another accelerator than the request.
        """
        cuda, name = self.choice.cuda, dependency.name
        if (name in _CUDA_ONLY) == (cuda is None):
            raise _contradiction(given_as, f"the request is for {accelerator_name(cuda)}", "--cuda")
        if self.choice.source == "wheels":
            return False  # the wheel brings its CUDA, or none
        if name == "cpuonly":
            return False  # a pin of the pytorch channel, unknown to conda-forge
        if name == "cudatoolkit" and cuda and (cuda.major, cuda.minor) > _LAST_TOOLKIT:
            raise InvalidValue(
                what="package",
                value=given_as,
                reason=f"ends with CUDA 11.8, and the request is for {cuda}",
                remedy="leave it out; for the compiler ask for `cuda-nvcc`",
            )
        if name in _CUDA_PINS and name not in self._pinned:
            pin = Dependency(name=name, version=f"={cuda}")
            self._pinned[name] = _narrowed(pin, dependency, given_as)
            return False
        return True


def _narrowed(pin: Dependency, wish: Dependency, given_as: str) -> Dependency:
    """The pin, made narrower by what was asked for.

    Raises:
        InvalidValue: nothing is in both.
    """
    version = _narrower(pin.version, wish.version)
    build = _narrower_build(pin.build, wish.build)
    if version is None or build is None:
        option = _OPTIONS.get(pin.name, "--cuda")
        wanted = " ".join(filter(None, (pin.name, pin.version.lstrip("="), pin.build)))
        raise _contradiction(given_as, f"the request is for `{wanted}`", option)
    return replace(pin, version=version, build=build, channel=wish.channel or pin.channel)


def _narrower(pin: str, wish: str) -> str | None:
    """`=3.10` and `=3.10.14` → `=3.10.14`; a range that admits the pin changes nothing."""
    if not wish or wish == "*":
        return pin
    one, other = _single(pin), _single(wish)
    if one is None:
        return wish
    if other is not None:
        if _starts(other, one):
            return wish if wish.startswith("=") else f"={other}"
        return pin if _starts(one, other) else None
    return pin if _admits(wish, one) else None


def _narrower_build(pin: str, wish: str) -> str | None:
    if not wish or wish == pin:
        return pin
    if not pin or fnmatchcase(wish.strip("*"), pin) or fnmatchcase(wish, pin):
        return wish
    return pin if fnmatchcase(pin.strip("*"), wish) else None


def _joined(first: Dependency, second: Dependency, earlier: str, given_as: str) -> Dependency:
    """Two wishes of one person for one package.

    Raises:
        InvalidValue: nothing is in both.
    """
    version = _both(first.version, second.version)
    build = _narrower_build(first.build, second.build)
    if version is None or build is None:
        raise _contradiction(given_as, f"`{earlier}` was asked for too", "--with")
    extras = tuple(sorted({*first.extras, *second.extras}))
    channel = second.channel or first.channel
    return replace(first, version=version, build=build, extras=extras, channel=channel)


def _both(first: str, second: str) -> str | None:
    """What meets both; None where nothing does, as far as that can be told here."""
    if not first or not second:
        return first or second
    if _single(first) is not None:
        return _narrower(first, second)
    if _single(second) is not None:
        return _narrower(second, first)
    pairs = product(first.split("|"), second.split("|"))  # `,` binds closer than `|`
    return "|".join(",".join(dict.fromkeys(pair)) for pair in pairs)


def _single(version: str) -> str | None:
    """`2.0.1` of `=2.0.1`, `==2.0.1`, `2.0.1` and `2.0.1.*`; None for a range."""
    found = re.fullmatch(r"={0,2}([^=<>!~|,*]+?)(?:\.?\*)?", version)
    return found[1].rstrip(".") if found else None


def _starts(version: str, prefix: str) -> bool:
    return version == prefix or version.startswith(f"{prefix}.")


def _admits(spec: str, version: str) -> bool:
    """Whether a range holds some release of `version`, which may be `3.10` for all of 3.10."""
    try:
        ranges = [
            SpecifierSet(conda_spec.as_pip(Dependency(name="x", version=part)).version)
            for part in spec.split("|")
        ]
    except InvalidSpecifier:
        return True  # not a version of PEP 440: the solver will say
    candidates = (version, f"{version}.0", f"{version}.9999")
    return any(item.contains(each, prereleases=True) for item in ranges for each in candidates)


def _contradiction(given_as: str, why: str, option: str) -> InvalidValue:
    return InvalidValue(
        what="package",
        value=given_as,
        reason=f"contradicts the rest: {why}",
        remedy=f"change `{option}`, or leave the package out",
    )
