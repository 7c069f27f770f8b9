"""What is looked at while the interpreter imports torch: the machine, the prefix, the shell.

Imported by the threads that do it (`gathering.py`), so that the interpreter is not kept waiting
for what only they need.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from envforge.adapters.linking.collect import with_linking
from envforge.adapters.machine.host_facts import described_host_facts, host_facts
from envforge.adapters.machine.machine_probe import DriverLook
from envforge.adapters.machine.shell_facts import shell_facts
from envforge.adapters.prefix import recognise
from envforge.adapters.prefix.package_facts import Thorough
from envforge.adapters.prefix.prefix_facts import read_prefix
from envforge.forge.judging.meanwhile import Meanwhile
from envforge.forge.judging.naming import Looking
from envforge.forge.judging.places import Place
from envforge.forge.workplace import Workplace, this_platform
from envforge.model.machine import Machine
from envforge.verify.facts import HostFacts, PrefixFacts, ShellFacts


def host(
    workplace: Workplace, place: Place, looking: Looking, described: Machine | None
) -> HostFacts:
    """The machine: this one, or one that was described."""
    if described is not None:
        return _described(workplace, described)
    probe, level = workplace.live_probe, looking.level
    is_thorough = level != "static" and (level or place.installed or place.kind == "host")
    look = probe.thorough if is_thorough else probe.driver
    return host_facts(look, workplace.settings.environment, root=workplace.settings.host_root)


def _described(workplace: Workplace, machine: Machine) -> HostFacts:
    """Another machine; torch is imported here all the same, with the variables of this shell."""
    here = host_facts(DriverLook(), workplace.settings.environment)
    return replace(
        described_host_facts(machine),
        variables={name: here.variables[name] for name in _OF_LOADING if name in here.variables},
        pythonpath=here.pythonpath,
    )


_OF_LOADING: Final = (
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONHOME",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
)


def prefix(workplace: Workplace, place: Place, looking: Looking) -> PrefixFacts | None:
    """What is installed; None: nothing installed was named.

    Raises:
        FileNotUsable, BrokenPrefix: it cannot be looked at.
    """
    installed, lock = place.installed, place.lock
    if installed is None:
        return None
    facts = read_prefix(
        installed.prefix,
        state=recognise.state(installed.prefix),
        environment=workplace.settings.environment,
        every_file=looking.level != "static" or looking.hashes,
        site=installed.site,
        thorough=Thorough(
            hashes=looking.hashes,
            caches=(workplace.settings.package_cache, *workplace.settings.conda.pkgs_dirs),
            locked=lock.for_platform(this_platform()) if lock else (),
        ),
    )
    program = installed.interpreter
    return with_linking(
        replace(facts, interpreter=str(program) if program else None),
        environment=workplace.settings.environment,
        root=workplace.settings.host_root,
        site=installed.site,
        thorough=looking.level != "static",
        processes=workplace.processes,
    )


def shell(
    workplace: Workplace,
    machine: Meanwhile[HostFacts],
    reading: Meanwhile[PrefixFacts | None],
    looking: Looking,
) -> ShellFacts | None:
    """What the shell around us means for the prefix; None: the machine is described."""
    found = machine.result()
    if found.machine.origin == "described":
        return None
    return shell_facts(
        workplace.settings.environment,
        prefix=reading.result(),
        capabilities=[gpu.capability for gpu in found.usable_gpus],
        root=workplace.settings.host_root,
        processes=workplace.processes,
        thorough=looking.level != "static",
    )
