"""Where an environment is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from envforge.adapters import conda_registry
from envforge.adapters.prefix_reader import read_record, read_state
from envforge.errors import BrokenPrefix
from envforge.forge.workplace import Workplace
from envforge.model.prefix import PrefixState


def default_prefix(workplace: Workplace, name: str) -> Path:
    """Where `conda activate NAME` finds it."""
    return workplace.settings.prefixes / name


def find_prefix(workplace: Workplace, name: str) -> Path | None:
    """The prefix of an environment: the usual one, else a registered one that bears its name."""
    return next(_candidates(workplace, name), None)


def _candidates(workplace: Workplace, name: str) -> Iterator[Path]:
    usual = default_prefix(workplace, name)
    if (usual / "conda-meta").is_dir():
        yield usual
    for prefix in conda_registry.registered(workplace.settings.home):
        record = read_record(prefix)
        if record is not None and record.environment == name and prefix != usual:
            yield prefix


def prefix_of(workplace: Workplace, name: str, given: Path | None) -> Path:
    """Where to install, or where it is: what was given counts; always absolute.

    A relative prefix would end in the first line of every script (py-rattler 0.28).
    """
    if given is not None:
        return given.expanduser().absolute()
    return find_prefix(workplace, name) or default_prefix(workplace, name).absolute()


def usable_prefix(workplace: Workplace, name: str, given: Path | None) -> Path:
    """A prefix that may be entered.

    Raises:
        BrokenPrefix: nothing is installed, or an install was interrupted.
    """
    prefix = prefix_of(workplace, name, given)
    state = read_state(prefix)
    if state in {PrefixState.INSTALLED, PrefixState.FOREIGN}:
        return prefix
    reasons = {
        PrefixState.ABSENT: "nothing is installed here",
        PrefixState.INCOMPLETE: "an install of it was interrupted",
    }
    raise BrokenPrefix(
        prefix=str(prefix), reason=reasons[state], remedy=f"`envforge install {name}`"
    )
