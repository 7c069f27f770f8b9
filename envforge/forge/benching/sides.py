"""What is timed: an interpreter, the variables that it runs with, and the lock behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from envforge.adapters.activation.activation_scripts import run_environment
from envforge.errors import BrokenPrefix, InvalidValue
from envforge.forge import folders
from envforge.forge.judging import naming, places
from envforge.forge.judging.places import Place
from envforge.forge.workplace import Workplace, this_platform
from envforge.install.plan import lock_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One side, before it is measured."""

    name: str
    interpreter: Path
    variables: Mapping[str, str]
    lock: str = ""
    """SHA-256 of what the lock installs; empty: none is known."""


def find(workplace: Workplace, env: str | None, prefix: Path | None, python: str | None) -> Timed:
    """What was named, ready to be started.

    Raises:
        InvalidValue: nothing was named, or there is no such thing.
        NoSuchEnvironment, BrokenPrefix: it is not there, or holds no interpreter.
    """
    if env is None and prefix is None and python is None:
        raise InvalidValue(
            what="environment",
            value="ENV",
            reason="is not named",
            remedy="name one, or an interpreter: `envforge bench --python EXE`",
        )
    named = naming.Named(env=env, prefix=prefix, python=python)
    looking = naming.Looking()
    naming.refuse_nonsense(named, looking)
    return _ready(workplace, places.find(workplace, named, looking))


def _ready(workplace: Workplace, place: Place) -> Timed:
    found = place.installed
    if found is None or found.interpreter is None:
        home = found.prefix if found else place.name
        remedy = f"`envforge install {place.name}`" if place.kind == "environment" else None
        raise BrokenPrefix(prefix=str(home), reason="it holds no interpreter", remedy=remedy)
    variables = workplace.settings.environment
    if found.is_conda:
        variables = run_environment(found.prefix, variables, workplace.processes)
    return Timed(
        name=place.name,
        interpreter=found.interpreter,
        variables=variables,
        lock=_digest(place),
    )


def _digest(place: Place) -> str:
    lock, platform = place.lock, this_platform()
    if lock is None or platform not in lock.platforms:
        return ""
    return lock_digest(lock.for_platform(platform), folders.variables_of(lock))
