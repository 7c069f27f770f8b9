"""A lock becomes a prefix, and a prefix goes again.

The order is what makes an interruption harmless: the prefix is marked incomplete before its first
change and complete after the last, and every step between may be done twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from envforge.errors import BrokenPrefix, NoSuchEnvironment
from envforge.install.forecast import check_space, forecast
from envforge.install.plan import coming, lock_digest
from envforge.install.request import InstallRequest, InstallTools, Prepared
from envforge.install.transaction import (
    NOT_LINKED,
    carry_out,
    compile_modules,
    plan_for,
    try_registry,
)
from envforge.model.prefix import (
    InstallPlan,
    InstallRecord,
    InstallResult,
    PrefixState,
    SpaceForecast,
)
from envforge.ports import LinkOutcome, SpaceProbe

__all__ = ["InstallRequest", "InstallTools", "Prepared", "install", "prepare", "remove"]

_NOTHING: Final = SpaceForecast(
    download_bytes=0, cache_bytes=0, prefix_bytes=0, inodes=0, estimated=0
)


def prepare(request: InstallRequest, tools: InstallTools) -> Prepared:
    """Look at the prefix and say what would be done; nothing is written.

    Raises:
        BrokenPrefix: a foreign directory, or a foreign environment that differs, is in the way.
        InvalidFile: a package record of the prefix cannot be read.
    """
    contents = tools.prefixes.read(request.prefix)
    plan = plan_for(request, contents)
    if contents.state is PrefixState.FOREIGN and not plan.is_empty:
        raise _foreign(plan)
    needed = _NOTHING if plan.is_empty else _forecast(plan, tools.space)
    return Prepared(contents=contents, plan=plan, forecast=needed, target=_target(request))


def install(
    request: InstallRequest,
    tools: InstallTools,
    *,
    confirm: Callable[[InstallPlan], bool] = lambda _: True,
) -> InstallResult:
    """Make the prefix equal to the lock, and say what was done.

    Args:
        request: what to install.
        tools: through which ports.
        confirm: shown the plan before an installed environment is changed; False leaves it.

    Raises:
        BrokenPrefix: see `prepare`; or the change was not confirmed.
        NotEnoughSpace: nothing was written.
        CorruptArchive, Unreachable, ToolFailed, FileNotUsable: the environment stays marked as
            incomplete, and the same call goes on from there.
    """
    began = time.monotonic()
    prepared = prepare(request, tools)
    if prepared.is_done:
        return _result(prepared, NOT_LINKED, "skipped", began)
    _check(request, prepared, tools)
    _ask(prepared, confirm)
    with tools.prefixes.hold(request.prefix, tools.reporter.note):
        before, prepared = prepared, _look_again(request, prepared, tools)
        if prepared.is_done:  # by another process
            return _result(prepared, NOT_LINKED, "skipped", began)
        if prepared.plan != before.plan:
            _ask(prepared, confirm)
        linked = carry_out(request, prepared, tools)
        bytecode = compile_modules(request, prepared, tools)
    return _result(prepared, linked, bytecode, began)


def _look_again(request: InstallRequest, before: Prepared, tools: InstallTools) -> Prepared:
    """The same now that nobody else changes the prefix; most often nothing is new."""
    contents = tools.prefixes.read(request.prefix)
    if plan_for(request, contents) == before.plan:
        return replace(before, contents=contents)
    return prepare(request, tools)


def check(request: InstallRequest, tools: InstallTools) -> None:
    """See that an install could go through, before anything is written anywhere.

    Raises:
        BrokenPrefix, NotEnoughSpace, Unreachable
    """
    _check(request, prepare(request, tools), tools)


def remove(prefix: Path, tools: InstallTools) -> None:
    """Remove an environment that envforge made, whole or interrupted.

    Raises:
        NoSuchEnvironment: nothing is installed there.
        BrokenPrefix: what is there is not ours to remove.
    """
    state = tools.prefixes.state(prefix)
    if state is PrefixState.ABSENT:
        raise NoSuchEnvironment(name=prefix.name, searched=str(prefix.parent))
    if state is PrefixState.FOREIGN:
        raise BrokenPrefix(
            prefix=str(prefix),
            reason="is an environment that envforge did not make",
            remedy=f"remove it with `conda env remove --prefix {prefix}`",
        )
    with tools.prefixes.hold(prefix, tools.reporter.note):
        tools.prefixes.delete(prefix)
    try_registry(tools, lambda: tools.registry.remove(prefix))


def _check(request: InstallRequest, prepared: Prepared, tools: InstallTools) -> None:
    """What can be known to fail fails here, before anything is written."""
    if prepared.plan.is_empty:
        return
    tools.conda.check([item for item in coming(prepared.plan) if item.manager == "conda"])
    if not request.ignore_space:
        conda, wheels = tools.space.caches()
        disks = (tools.space.disk(folder) for folder in (request.prefix, conda, wheels))
        check_space(prepared.forecast, *disks)


def _ask(prepared: Prepared, confirm: Callable[[InstallPlan], bool]) -> None:
    """An environment that works is changed only after saying what changes."""
    plan = prepared.plan
    if prepared.contents.state is PrefixState.INSTALLED and not plan.is_empty and not confirm(plan):
        raise BrokenPrefix(
            prefix=str(plan.prefix),
            reason=f"differs from its lock ({_summary(plan)}), and was left as it is",
            remedy="`envforge install` makes it equal to the lock",
        )


def _target(request: InstallRequest) -> InstallRecord:
    from packaging.utils import canonicalize_name

    return InstallRecord(
        digest=lock_digest(request.packages, request.variables),
        complete=True,
        environment=request.environment,
        variables=tuple(sorted(request.variables)),
        wheels={
            str(canonicalize_name(item.name)): item.sha256
            for item in request.packages
            if item.manager == "pip"
        },
    )


def _forecast(plan: InstallPlan, space: SpaceProbe) -> SpaceForecast:
    prefix = space.disk(plan.prefix).device
    caches = dict(zip(("conda", "pip"), space.caches(), strict=True))
    hardlinked = {name for name, folder in caches.items() if space.disk(folder).device == prefix}
    facts = space.archives(coming(plan), measure="conda" not in hardlinked)
    return forecast(plan, facts, hardlinked=hardlinked)


def _summary(plan: InstallPlan) -> str:
    parts = (
        (len(plan.add), "to add"),
        (len(plan.change), "to change"),
        (len(plan.remove), "to remove"),
    )
    return ", ".join(f"{number} {what}" for number, what in parts if number)


def _foreign(plan: InstallPlan) -> BrokenPrefix:
    return BrokenPrefix(
        prefix=str(plan.prefix),
        reason=(
            "is an environment that envforge did not make, and differs from the lock"
            f" ({_summary(plan)})"
        ),
        remedy="choose another place with `--prefix`, or remove it with `conda env remove`",
    )


def _result(
    prepared: Prepared,
    linked: LinkOutcome,
    bytecode: Literal["compiled", "background", "skipped"],
    began: float,
) -> InstallResult:
    return InstallResult(
        prefix=prepared.plan.prefix,
        plan=prepared.plan,
        forecast=prepared.forecast,
        link_mode=linked.link_mode,
        downloaded=linked.downloaded,
        bytecode=bytecode,
        seconds=time.monotonic() - began,
        skipped_scripts=linked.skipped_scripts,
    )
