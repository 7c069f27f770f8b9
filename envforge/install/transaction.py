"""A plan is carried out: marked before, conda's packages, wheels, description, marked after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, Literal

from envforge.errors import FileNotUsable
from envforge.install.plan import coming, moves_python, plan_install
from envforge.install.request import InstallRequest, InstallTools, Prepared
from envforge.model.prefix import InstallPlan, PrefixContents, PrefixState
from envforge.model.wording import counted
from envforge.ports import LinkOutcome

NOT_LINKED: Final = LinkOutcome(link_mode="none", downloaded=0)


def plan_for(request: InstallRequest, contents: PrefixContents) -> InstallPlan:
    """The transaction that is left to do."""
    return plan_install(
        request.packages, contents.packages, request.prefix, damaged=contents.damaged
    )


def carry_out(request: InstallRequest, prepared: Prepared, tools: InstallTools) -> LinkOutcome:
    """Make the prefix as planned; an interruption leaves it marked as incomplete."""
    before = prepared.contents.record
    known = before.variables if before else ()
    unfinished = replace(
        prepared.target,
        complete=False,
        variables=tuple(sorted({*known, *request.variables})),
        wheels=before.wheels if before else {},
    )
    tools.prefixes.begin(request.prefix, unfinished)
    tools.prefixes.clear(request.prefix)
    linked = _packages(request, prepared, tools)
    tools.prefixes.describe(
        request.prefix,
        prepared.plan,
        packages=request.packages,
        variables=request.variables,
        before=known,
        requested=request.requested,
    )
    try_registry(tools, lambda: tools.registry.add(request.prefix))
    tools.prefixes.finish(request.prefix, prepared.target)
    return linked


def _packages(request: InstallRequest, prepared: Prepared, tools: InstallTools) -> LinkOutcome:
    """Conda's packages, then wheels: those need the interpreter that conda's bring.

    Wheels go before conda's come: a package that changes from one to the other has the same files.
    """
    leaving = _leaving_first(prepared)
    if leaving:
        tools.wheels.install((), request.prefix, remove=leaving)
    linked = NOT_LINKED
    resume = prepared.contents.state is PrefixState.INCOMPLETE
    if resume or _touches_conda(prepared.plan):
        linked = _link(request, prepared, tools, resume=resume)
    plan = prepared.plan
    if _is_doubtful(prepared.contents):
        tools.prefixes.clear(request.prefix)
        plan = plan_for(request, tools.prefixes.read(request.prefix))
    fresh = [item for item in coming(plan) if item.manager == "pip"]
    gone = [item.name for item in plan.remove if item.manager == "pip" and item.name not in leaving]
    if gone or fresh:
        with tools.reporter.step(f"installing {counted(len(fresh), 'wheel')}"):
            tools.wheels.install(fresh, request.prefix, remove=gone)
    return linked


def _leaving_first(prepared: Prepared) -> list[str]:
    """Wheels that go before conda's packages come.

    In doubt only those that we installed as wheels; others are looked at again once conda's
    packages are complete.
    """
    plan, contents = prepared.plan, prepared.contents
    if any(item.name == "python" and item.manager == "conda" for item in contents.damaged):
        return []  # no interpreter to remove them with
    going = [item.name for item in plan.remove if item.manager == "pip"]
    if moves_python(plan):  # the new interpreter does not look where the old one's wheels lie
        going += [old.name for old, new in plan.change if new.manager == "pip"]
    if not _is_doubtful(contents):
        return going
    ours = contents.record.wheels if contents.record else {}
    return [name for name in going if name in ours]


def _is_doubtful(contents: PrefixContents) -> bool:
    """Whether what looks like a wheel may be half a conda package, whose record is not there."""
    return contents.state is PrefixState.INCOMPLETE or contents.unreadable


def _link(
    request: InstallRequest, prepared: Prepared, tools: InstallTools, *, resume: bool
) -> LinkOutcome:
    packages = [item for item in request.packages if item.manager == "conda"]
    damaged = {item.name for item in prepared.contents.damaged if item.manager == "conda"}
    with tools.reporter.step(f"linking {counted(len(packages), 'package')}"):
        linked = tools.conda.link(
            packages,
            request.prefix,
            platform=request.platform,
            reinstall=frozenset(damaged & {item.name for item in packages}),
            resume=resume,
            progress=tools.reporter.progress,
        )
    if linked.link_mode == "copy":
        tools.reporter.note(
            "files were copied: the package cache is on another filesystem than the environment"
        )
    for name in linked.skipped_scripts:
        tools.reporter.warn(
            f"the post-link script of `{name}` was not run; `link-scripts` allows it"
        )
    return linked


def compile_modules(
    request: InstallRequest, prepared: Prepared, tools: InstallTools
) -> Literal["compiled", "background", "skipped"]:
    """Compile what came; after an interruption everything, since that never was."""
    resumed = prepared.contents.state is PrefixState.INCOMPLETE
    packages = request.packages if resumed else coming(prepared.plan)
    if not packages:
        return "skipped"
    return tools.bytecode.compile(request.prefix, packages, wait=request.wait_for_bytecode)


def _touches_conda(plan: InstallPlan) -> bool:
    managers = {item.manager for item in coming(plan)} | {item.manager for item in plan.remove}
    return "conda" in managers


def try_registry(tools: InstallTools, change: Callable[[], None]) -> None:
    """The list is conda's comfort: an environment is good without being in it."""
    try:
        change()
    except FileNotUsable as error:
        tools.reporter.warn(f"conda's list of environments was left as it is: {error}")
