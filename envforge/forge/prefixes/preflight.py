"""Before anything is fetched: would what is locked run on the machine it is for?

The checks are those of `verify` that need the lock and the machine only, so what is refused
here is what `verify` would name afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from envforge.adapters.environments import VIRTUAL_PACKAGES_YML
from envforge.adapters.machine.c_library import glibc_version
from envforge.errors import CannotRunHere, InvalidValue
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.conda import virtual_packages_yml
from envforge.model.cuda import ComputeCapability, CudaVersion
from envforge.model.finding import Finding
from envforge.model.lock import Lock
from envforge.model.machine import Driver, Gpu, Machine
from envforge.verify.check import CannotLook, Check, NotApplicable
from envforge.verify.checks import compatibility, floors
from envforge.verify.facts import HostFacts, ShellFacts, Subject
from envforge.verify.lock_claim import claim_of

RULES: Final[Mapping[str, Check]] = {
    "driver-too-old": compatibility.driver_too_old,
    "driver-minor-too-old-for-ptx": compatibility.driver_minor_too_old_for_ptx,
    "arch-too-new": compatibility.arch_too_new,
    "arch-too-old": compatibility.arch_too_old,
    "cudnn-drops-gpu": floors.cudnn_drops_gpu,
    "glibc-too-old": floors.glibc_too_old,
}
"""What cannot run, as against what is broken here today: a driver that hangs may be mended."""
_LEVELS: Final = "x86_64-microarch-level"
"""The package by which others ask for a level of x86-64; see `_processor`."""
_LOG: Final = logging.getLogger(__name__)
_OVERRIDES: Final = {
    "__cuda": "CONDA_OVERRIDE_CUDA",
    "__cuda_arch": "CONDA_OVERRIDE_CUDA_ARCH",
    "__glibc": "CONDA_OVERRIDE_GLIBC",
}


class Gate:
    """Lets a lock through that runs on the machine it is for; each lock is judged once.

    Args:
        workplace: where we are.
        folder: the environment's.
        machine: described by a person; None: this one.
        target_host: the machine that virtual-packages.yml describes, instead of this one.
        force: let everything through, with a warning.
    """

    def __init__(
        self,
        workplace: Workplace,
        folder: Path,
        *,
        machine: Machine | None = None,
        target_host: bool = False,
        force: bool = False,
    ) -> None:
        self._workplace = workplace
        self._folder = folder
        self._machine = machine
        self._target_host = target_host
        self._force = force
        self._seen: Lock | None = None

    def check(self, lock: Lock) -> None:
        """Refuse what cannot run there.

        Raises:
            CannotRunHere: with what verify would say. A machine without a GPU refuses nothing.
        """
        if lock == self._seen:
            return
        self._seen = lock
        findings = self._findings(lock)
        for item in findings:
            if self._force or item.severity == "warning":
                self._workplace.reporter.warn(item.message)
        errors = [item for item in findings if item.severity == "error"]
        if errors and not self._force:
            raise CannotRunHere(
                name=self._folder.name,
                problems=tuple(dict.fromkeys(item.message for item in errors)),
                remedies=tuple(
                    dict.fromkeys(way for e in errors for way in e.remedy.split(", or "))
                ),
            )

    def _findings(self, lock: Lock) -> list[Finding]:
        platform = this_platform()
        packages = lock.for_platform(platform)
        subject = Subject(
            name=self._folder.name,
            level="static",
            kind="lock",
            platform=platform,
            platforms=lock.platforms,
            folder=self._folder.name,
            target=lock.target or claim_of(packages, platform),
            locked=packages,
            host=self._host(),
        )
        found = list(_broken(subject, RULES))
        if any(_LEVELS in text for item in packages for text in (item.name, *item.depends)):
            found += _processor(self._workplace, subject)
        return found

    def _host(self) -> HostFacts:
        if self._target_host:
            return _described_by_folder(self._workplace, self._folder)
        if self._machine is not None and self._machine.origin == "described":
            return HostFacts(machine=self._machine)
        return _this_machine(self._workplace)


def _broken(subject: Subject, rules: Mapping[str, Check]) -> Iterator[Finding]:
    """What these rules find. `verify.judge` does it for the whole table, which takes loading."""
    failed: set[str] = set()
    for name, rule in rules.items():
        if failed.intersection(rule.after):
            continue
        try:
            for finding in rule(subject):
                failed.add(name)
                yield finding
        except (CannotLook, NotApplicable) as reason:
            _LOG.debug("%s: %s", name, reason)


def _processor(workplace: Workplace, subject: Subject) -> Iterator[Finding]:
    """For a lock that asks for a level of x86-64, which few do."""
    from envforge.adapters.machine.shell_facts import cpu_flags
    from envforge.verify.checks.shell import illegal_instruction

    assert subject.host is not None  # noqa: S101 - made above
    shell = ShellFacts(cpu_flags=cpu_flags(workplace.settings.host_root))
    subject = replace(subject, host=replace(subject.host, shell=shell))
    return _broken(subject, {"illegal-instruction": illegal_instruction})


def _this_machine(workplace: Workplace) -> HostFacts:
    root, probe = workplace.settings.host_root, workplace.probe
    found = HostFacts(
        machine=probe.look(),
        glibc=glibc_version(workplace.settings.environment, root),
    )
    if probe is not workplace.live_probe:  # the library's user looks for himself
        return found
    look = workplace.live_probe.driver
    return replace(found, kernel_driver=look.kernel, cuda=look.cuda, nvml=look.nvml)


def _described_by_folder(workplace: Workplace, folder: Path) -> HostFacts:
    """The machine of virtual-packages.yml; where there is none yet, that of `CONDA_OVERRIDE_*`."""
    text = workplace.environments.read(folder, VIRTUAL_PACKAGES_YML)
    if text is None:
        return HostFacts(
            machine=overridden(workplace), glibc=_given(workplace).get("__glibc") or None
        )
    listed = virtual_packages_yml.read(text, str(folder / VIRTUAL_PACKAGES_YML))
    values = {item.name: item.version for item in listed.get(this_platform(), ())}
    return HostFacts(machine=_machine(values), glibc=values.get("__glibc"))


def overridden(workplace: Workplace) -> Machine:
    """The machine that `CONDA_OVERRIDE_CUDA` and its like describe (CEP 30, CEP 46).

    Raises:
        InvalidValue: a value that is no version.
    """
    return _machine(_given(workplace))


def _given(workplace: Workplace) -> dict[str, str]:
    environment = workplace.settings.environment
    return {name: environment[key] for name, key in _OVERRIDES.items() if environment.get(key)}


def _machine(values: Mapping[str, str]) -> Machine:
    cuda, architecture = values.get("__cuda"), values.get("__cuda_arch")
    try:
        driver = Driver(version="", cuda=CudaVersion.parse(cuda)) if cuda else None
        lowest = ComputeCapability.parse(architecture) if architecture else None
    except InvalidValue as error:
        raise InvalidValue(
            what="virtual package", value=error.value, reason=error.reason, remedy="as in `12.4`"
        ) from error
    gpus = (Gpu(name=f"sm_{lowest.major}{lowest.minor}", capability=lowest),) if lowest else ()
    return Machine(driver=driver, gpus=gpus, origin="described")
