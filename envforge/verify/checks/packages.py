"""What checks of packages stand on: words, and the commands that put a package back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from envforge.verify import remedies
from envforge.verify.facts import PrefixFacts, Subject, UnlikeRecorded

SHOWN = 5
"""Things named in a sentence; more are counted."""


def prefix_of(subject: Subject) -> PrefixFacts:
    """The prefix of a check that needs one."""
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def listed(items: Iterable[str], separator: str = ", ") -> str:
    """The first few, and how many more."""
    everything = list(items)
    more = f" and {len(everything) - SHOWN} more" if len(everything) > SHOWN else ""
    return separator.join(everything[:SHOWN]) + more


def restore(subject: Subject, files: Sequence[UnlikeRecorded], *, unseen: bool = False) -> str:
    """Put packages back whose files are damaged.

    Args:
        subject: what is judged.
        files: the damaged ones.
        unseen: an install would take them for whole, since their sizes are right.
    """
    prefix = prefix_of(subject)
    if subject.locked is None or subject.folder is None:
        return reinstall(subject, [(item.manager, item.package) for item in files])
    steps = [_forget_cached(prefix, item) for item in files if item.links > 1]
    if unseen:
        steps += [f"rm {_quoted(prefix, item.path)}" for item in files[:SHOWN]]
    return " && ".join([*dict.fromkeys(filter(None, steps)), remedies.install(subject)])


def _forget_cached(prefix: PrefixFacts, item: UnlikeRecorded) -> str:
    """The same damage lies in the cache, and would be linked again."""
    name = item.package.partition(" ")[0]
    if item.manager == "pip":
        return f"uv cache clean {name}"
    folder = prefix.packages.unpacked.get(name)
    return f"rm -r {shlex.quote(folder)}" if folder else ""


def _quoted(prefix: PrefixFacts, path: str) -> str:
    return shlex.quote(f"{prefix.prefix}/{path}")


def reinstall(subject: Subject, packages: Iterable[tuple[str, str]]) -> str:
    """The commands of the tools that made the prefix.

    Args:
        subject: what is judged.
        packages: manager and `name version` of each.
    """
    prefix = prefix_of(subject)
    unique = list(dict.fromkeys(packages))
    conda = [item.replace(" ", "=") for manager, item in unique if manager == "conda"]
    wheels = [item.replace(" ", "==") for manager, item in unique if manager == "pip"]
    commands = []
    if conda:
        where = shlex.quote(prefix.prefix)
        commands.append(f"conda install --prefix {where} --force-reinstall {' '.join(conda[:9])}")
    if wheels:
        commands.append(f"{_pip(prefix, wheels)} {' '.join(map(shlex.quote, wheels[:9]))}")
    return "; ".join(commands) or remedies.install(subject)


def install_into(prefix: PrefixFacts, specs: str) -> str:
    """The command that brings packages into a prefix that nothing of ours made.

    Args:
        prefix: where.
        specs: what pip and conda both read, `numpy<2`; several have spaces between them.
    """
    named = specs.split()
    name = re.split(r"[^A-Za-z0-9._-]", named[0])[0]
    wheels = {item.name for item in prefix.packages.distributions if item.conda_owner is None}
    words = " ".join(map(shlex.quote, named))
    if name not in wheels and any(item.name == name for item in prefix.conda):
        return f"conda install --prefix {shlex.quote(prefix.prefix)} {words}"
    python = shlex.quote(prefix.interpreter or f"{prefix.prefix}/bin/python")
    has_pip = any(item.name == "pip" for item in prefix.packages.distributions)
    start = f"{python} -m pip install" if has_pip else f"uv pip install --python {python}"
    return f"{start} {words}"


def _pip(prefix: PrefixFacts, wheels: Sequence[str]) -> str:
    """With pip where it is there; else with uv, which needs nothing in the prefix."""
    python = shlex.quote(prefix.interpreter or f"{prefix.prefix}/bin/python")
    installers = {
        item.installer
        for item in prefix.packages.distributions
        if f"{item.name}=={item.version}" in wheels
    }
    has_pip = any(item.name == "pip" for item in prefix.packages.distributions)
    if has_pip and installers != {"uv"}:
        return f"{python} -m pip install --force-reinstall --no-deps --no-cache-dir"
    return f"uv pip install --python {python} --reinstall --no-deps --no-cache"
