"""`envforge gpu`: who holds memory of the GPUs, and what could be given back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from envforge.adapters.process import become
from envforge.adapters.server import allocators
from envforge.adapters.server.processes import ProcessWatch
from envforge.around.server import gpu_memory
from envforge.errors import InvalidValue, ToolMissing
from envforge.forge.workplace import Workplace
from envforge.model.gpu_memory import AllocatorMemory, GpuMemory, GpuReport, Holder, ProcessFacts

if TYPE_CHECKING:
    from envforge.adapters.machine.machine_probe import DriverLook
    from envforge.verify.facts import GpuState

_LONGEST: Final = 600.0


def look(workplace: Workplace, *, seconds: float = 2.0) -> GpuReport:
    """Watch for some seconds, then tell; never raises for a broken driver.

    Raises:
        InvalidValue: `seconds` is below 0 or above 600.
    """
    if not 0 <= seconds <= _LONGEST:
        raise InvalidValue(
            what="seconds", value=f"{seconds:g}", reason=f"is not between 0 and {_LONGEST:.0f}"
        )
    watch = ProcessWatch()
    watch.begin()
    with workplace.reporter.step(f"watching the GPUs for {seconds:g} s"):
        seen = workplace.live_probe.watch(seconds)
    driver = seen.machine.driver
    report = GpuReport(
        driver=driver.version if driver else None,
        seconds=seconds,
        problem=_problem(seen),
        gpus=_gpus(seen.nvml.states, watch),
    )
    return gpu_memory.judged(report, uid=os.geteuid())


def run(workplace: Workplace, command: Sequence[str]) -> None:
    """Replace this process by a program that tells what its allocator holds.

    Raises:
        ToolMissing: there is no such program.
    """
    variables = allocators.watched(workplace.settings.environment)
    program = shutil.which(command[0], path=variables.get("PATH", ""))
    if program is None:
        raise ToolMissing(
            tool=command[0],
            needed_for="`envforge gpu -- CMD`",
            remedy="`envforge gpu -- envforge run ENV -- CMD` finds programs of an environment",
        )
    become(program, command, variables)


def _problem(seen: DriverLook) -> str:
    """Why NVML does not tell, though there is a driver; empty: it does, or there is none."""
    nvml = seen.nvml
    if nvml.works or seen.machine.driver is None:
        return ""
    if nvml.absent:
        return f"NVML cannot be loaded: {nvml.absent}"
    if nvml.init:
        return f"NVML does not start: {nvml.init_name or nvml.init}"
    return f"NVML did not answer to the end ({nvml.ended}, at `{nvml.stage}`)"


def _gpus(states: Sequence[GpuState], watch: ProcessWatch) -> tuple[GpuMemory, ...]:
    pids = {item.pid for state in states for item in state.processes or ()}
    facts = watch.facts(pids)
    told = allocators.ask_all({pid: facts[pid].uid for pid in sorted(facts)})
    places = {pid: sum(_holds(state, pid) for state in states) for pid in pids}
    return tuple(_gpu(state, facts, told, places) for state in states)


def _holds(state: GpuState, pid: int) -> bool:
    return any(item.pid == pid for item in state.processes or ())


def _gpu(
    state: GpuState,
    facts: Mapping[int, ProcessFacts],
    told: Mapping[int, tuple[AllocatorMemory, ...] | str],
    places: Mapping[int, int],
) -> GpuMemory:
    usage = state.usage
    gpu = GpuMemory(
        index=state.index,
        name=state.name,
        uuid=state.uuid or "",
        total=state.memory_bytes,
        free=state.free_bytes,
        driver_reserved=usage.reserved_bytes if usage else None,
        busy=usage.busy if usage else None,
        is_cut=bool(state.mig),
        error=state.error,
    )
    if state.processes is None:
        return gpu
    used = None if usage is None or usage.processes is None else dict(usage.processes)
    holders = []
    for item in state.processes:
        use, percent = gpu_memory.use_of(item.pid, gpu.busy, used)
        answer = told.get(item.pid, "it is not in sight from here")
        known = () if isinstance(answer, str) else answer
        memory = gpu_memory.matched(known, gpu, others=places[item.pid] - 1)
        holders.append(
            Holder(
                pid=item.pid,
                memory_bytes=item.memory_bytes,
                use=use,
                percent=percent,
                process=facts.get(item.pid),
                program=item.name,
                allocator=memory,
                why_not=answer if isinstance(answer, str) else _why_not(memory),
            )
        )
    holders.sort(key=lambda item: (-(item.memory_bytes or 0), item.pid))
    return replace(gpu, holders=tuple(holders))


def _why_not(memory: AllocatorMemory | None) -> str:
    return "" if memory else "it does not tell which of its devices this is"
