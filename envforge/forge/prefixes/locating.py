"""Where an environment is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from envforge.adapters import conda_registry
from envforge.adapters.files import absolute
from envforge.adapters.prefix_reader import read_record, read_state
from envforge.adapters.publishing import freezing
from envforge.errors import BrokenPrefix
from envforge.forge.workplace import Workplace
from envforge.model.prefix import PrefixState


def default_prefix(workplace: Workplace, folder: Path) -> Path:
    """Where `conda activate NAME` finds it."""
    return workplace.settings.prefixes / folder.name


def find_prefix(workplace: Workplace, folder: Path) -> Path | None:
    """The prefix of an environment: a registered one made from this folder, else the usual one.

    The marker in a prefix names the folder it was made from, so that folders of one name (two
    clones of a repository) each find their own. A folder that has moved finds what bears its
    name, and whose old folder is gone.
    """
    return next(_candidates(workplace, folder.absolute()), None)


def _candidates(workplace: Workplace, folder: Path) -> Iterator[Path]:
    records = {
        prefix: record.environment
        for prefix in reversed(conda_registry.registered(workplace.settings.home))
        if (record := read_record(prefix)) is not None
    }
    yield from (prefix for prefix, made_from in records.items() if made_from == str(folder))
    usual = default_prefix(workplace, folder)
    if _is_of_another(records.get(usual), folder):
        return
    # `os.path`: a path of somebody else's, which we may not enter, is none to us and no error
    if os.path.isdir(usual / "conda-meta"):  # noqa: PTH112
        yield usual
    for prefix, made_from in records.items():
        if Path(made_from).name == folder.name and not os.path.isdir(made_from):  # noqa: PTH112
            yield prefix


def _is_of_another(made_from: str | None, folder: Path) -> bool:
    """Whether a prefix was made from another folder that is still there."""
    if not made_from or made_from == str(folder):
        return False
    return os.path.isdir(made_from)  # noqa: PTH112 - a path that we may not enter is none


def refuse_of_another(folder: Path, prefix: Path) -> None:
    """Keep the environment of one clone from being changed or removed by another.

    Raises:
        BrokenPrefix: it was made from another folder, which is still there.
    """
    record = read_record(prefix)
    if record is not None and _is_of_another(record.environment, folder.absolute()):
        raise BrokenPrefix(
            prefix=str(prefix),
            reason=f"is the environment of `{record.environment}`",
            remedy=f"install this one elsewhere: `envforge install {folder.name} --prefix PATH`",
        )


def refuse_frozen(prefix: Path) -> None:
    """Leave alone what says that nothing may change it (CEP 22), as conda does.

    Raises:
        BrokenPrefix
    """
    message = freezing.message_of(prefix)
    if message is not None:
        raise BrokenPrefix(
            prefix=str(prefix),
            reason=f"it is frozen: {message or 'nothing may change it'}",
            remedy="install elsewhere with `--prefix`, or publish a new version with `--publish`",
        )


def prefix_of(workplace: Workplace, folder: Path, given: Path | None) -> Path:
    """Where to install, or where it is: what was given counts; always absolute.

    A relative prefix would end in the first line of every script (py-rattler 0.28).
    """
    if given is not None:
        return absolute(given)
    return find_prefix(workplace, folder) or default_prefix(workplace, folder).absolute()


def usable_prefix(workplace: Workplace, folder: Path, given: Path | None) -> Path:
    """A prefix that may be entered.

    Raises:
        BrokenPrefix: nothing is installed, or an install was interrupted.
    """
    prefix = prefix_of(workplace, folder, given)
    try:
        state = read_state(prefix)
    except BrokenPrefix as error:
        raise BrokenPrefix(
            prefix=str(prefix),
            reason="is no conda environment",
            remedy=f"`envforge install {folder.name}` makes one"
            + (f"; `--prefix` names where it is: not `{given}`" if given else ""),
        ) from error
    if state in {PrefixState.INSTALLED, PrefixState.FOREIGN}:
        return prefix
    reasons = {
        PrefixState.ABSENT: "nothing is installed here",
        PrefixState.INCOMPLETE: "an install of it was interrupted",
    }
    raise BrokenPrefix(
        prefix=str(prefix), reason=reasons[state], remedy=f"`envforge install {folder.name}`"
    )
