"""Does the shell around us start what it seems to, and do its variables fit this environment?"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from envforge.model.finding import Finding
from envforge.verify import allocator
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import cuda_of, host_of
from envforge.verify.facts import HostFacts, PrefixFacts, ShellFacts, Subject
from envforge.verify.facts.shell import ForeignValue, Program

_LEVELS: Final = {
    2: frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    3: frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}),
    4: frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
}
"""What each level of x86-64 adds, as Linux spells it (x86-64 psABI, section 3.1.1)."""
_LEVEL_NAME: Final = re.compile(r"x86_64_v([1-4])")
_MICROARCH: Final = re.compile(r"_?x86_64-microarch-level")
_ARCHSPEC_LEVELS: Final = {
    **dict.fromkeys(("nehalem", "westmere", "sandybridge", "ivybridge"), 2),
    **dict.fromkeys(("haswell", "broadwell", "skylake", "excavator", "zen", "zen2", "zen3"), 3),
    **dict.fromkeys(("skylake_avx512", "cascadelake", "cannonlake", "icelake", "zen4", "zen5"), 4),
}
"""Processor families by the level they reach, as archspec names them."""
_BUILT_IN: Final = frozenset({"sitecustomize", "usercustomize"})
_STANDARD: Final = frozenset(getattr(sys, "stdlib_module_names", ())) - {"test", "this", "idlelib"}
"""What lies in nobody's way (`test`) is left out."""
_SERIES_IN_PATH: Final = re.compile(r"(?:^|/)python(\d\.\d+)(?=/|$)")


# --- which Python ---------------------------------------------------------------------------


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="ModuleNotFoundError for what is installed; `pip install` fills another environment",
    cause="activation went wrong or was undone: a shell that is not interactive, a login file that"
    " puts another Python first, two environments activated on top of each other, tmux",
    fix="start the environment's interpreter by its path, or with `envforge run`",
    why="what you start from this shell runs in another environment than the activated one",
    source="conda/conda#664, conda/conda#7173",
)
def wrong_python_on_path(subject: Subject) -> Iterator[Finding]:
    """Where this environment is activated, `python` and `pip` are its own."""
    shell, prefix = shell_of(subject), _prefix(subject)
    activated = dict(shell.activated)
    claims = [name for name, place in activated.items() if place == prefix.real]
    if not claims:
        raise NotApplicable("this environment is not activated in this shell")
    found = {item.name: item for item in shell.programs}
    for name in shell.own_programs:
        program = found.get(name)
        if program is not None and _is_ours(program, prefix):
            continue
        yield Finding(
            message=f"`{name}` starts {program.path}, though {claims[0]} names this environment"
            if program
            else f"`{name}` starts nothing, though {claims[0]} names this environment",
            seen=program.path if program else f"no `{name}` on PATH",
            expected=f"{prefix.prefix}/bin/{name}",
            remedy=_run(subject, name),
            severity="warning" if _is_stacked(program, activated, claims) else "error",
        )
        return


def _is_ours(program: Program, prefix: PrefixFacts) -> bool:
    """Whether it lies in the prefix, is a link into it, or is run by its interpreter."""
    places = (program.path, program.real, program.interpreter or "", program.is_link_of or "")
    return any(_is_within(place, prefix) for place in places)


def _is_stacked(program: Program | None, activated: dict[str, str], claims: list[str]) -> bool:
    """Whether the other Python is that of a second environment that was activated too."""
    others = [place for name, place in activated.items() if name not in claims]
    return program is not None and any(_lies_in(program.path, place) for place in others)


def _run(subject: Subject, name: str) -> str:
    prefix = _prefix(subject)
    if subject.folder is not None and subject.kind == "environment":
        return f"envforge run {shlex.quote(subject.place or subject.folder)} -- {name}"
    if name == "pip":
        return f"{shlex.quote(prefix.prefix + '/bin/python')} -m pip"
    return shlex.quote(f"{prefix.prefix}/bin/{name}")


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="Fatal Python error: init_fs_encoding … No module named 'encodings'",
    cause="a module system, a launcher or another program's start script exported PYTHONHOME",
    fix="unset PYTHONHOME; nothing that is installed today needs it",
    why="the environment's interpreter takes another Python's standard library, or does not start",
    source="Python documentation, command line and environment: PYTHONHOME",
)
def pythonhome_set(subject: Subject) -> Iterator[Finding]:
    """PYTHONHOME sends the interpreter to no other Python's library."""
    prefix = _prefix(subject)
    value = host_of(subject).variables.get("PYTHONHOME", "")
    if not value:
        return
    homes = [os.path.normpath(item) for item in value.split(":") if item]
    if all(home in {prefix.prefix, prefix.real} for home in homes):
        return
    yield Finding(
        message="PYTHONHOME sends this environment's Python to another one's library",
        seen=f"PYTHONHOME={value}",
        expected="PYTHONHOME unset",
        remedy="unset PYTHONHOME",
    )


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="a module of another version, or of another Python, is imported",
    cause="a module system, ROS or a login file exported PYTHONPATH for another Python",
    fix="unset PYTHONPATH for this environment, or load no such module before using it",
    why="folders in PYTHONPATH go before the environment's own packages",
    source="RoboStack/ros-noetic#54, Eruvae/yolact_ros#11",
)
def pythonpath_shadow(subject: Subject) -> Iterator[Finding]:
    """PYTHONPATH hides no package of the environment, and holds none for another Python."""
    prefix, host = _prefix(subject), host_of(subject)
    for folder, names in host.pythonpath.items():
        if not _lies_in(folder, prefix.prefix) and not _lies_in(folder, prefix.real):
            yield from _in_the_way(folder, names, prefix)


def _in_the_way(folder: str, names: frozenset[str], prefix: PrefixFacts) -> Iterator[Finding]:
    hidden = sorted((names & prefix.modules) - _BUILT_IN)
    standard = sorted(names & _STANDARD)
    series, own = _SERIES_IN_PATH.search(folder), _series(prefix)
    if hidden:
        yield Finding(
            message=f"PYTHONPATH hides the environment's {_some(hidden)}",
            seen=f"{folder}: {_some(hidden)}",
            expected="no module there that the environment has",
            remedy="unset PYTHONPATH",
        )
    elif series and own and names and series[1] != own:
        yield Finding(
            message=f"PYTHONPATH leads Python {own} to packages of Python {series[1]}",
            seen=folder,
            expected=f"no folder of another Python than {own}",
            remedy="unset PYTHONPATH",
            severity="warning",
        )
    elif standard:
        yield Finding(
            message=f"PYTHONPATH hides Python's own {_some(standard)}",
            seen=f"{folder}: {_some(standard)}",
            expected="no module there that Python itself has",
            remedy="unset PYTHONPATH",
            severity="warning",
        )


def _series(prefix: PrefixFacts) -> str | None:
    """`3.10` of this environment's Python."""
    python = next((item.version for item in prefix.conda if item.name == "python"), None)
    if python is not None:
        return ".".join(python.split(".")[:2])
    found = _SERIES_IN_PATH.search(prefix.torch.package if prefix.torch else "")
    return found[1] if found else None


# --- variables ------------------------------------------------------------------------------


@check(
    level="static",
    needs=("host", "prefix"),
    severity="warning",
    symptom="headers or libraries of another environment in a build; paths that do not exist",
    cause="an environment's activation set variables for its compilers or its CUDA, and they stayed"
    " when it was left, or were copied into a login file",
    fix="begin with a new shell, or unset them",
    why="extensions, and what torch.compile builds, are made with another environment's parts",
    source="conda-forge/nvcc-feedstock#22, conda-forge/nvcc-feedstock#11",
)
def activate_var_leak(subject: Subject) -> Iterator[Finding]:
    """No variable for building leads into an environment that is not in use."""
    leaks = leaked(shell_of(subject))
    if not leaks:
        return
    names = [item.variable for item in leaks]
    first = leaks[0]
    state = "another environment" if first.exists else "an environment that was removed"
    yield Finding(
        message=f"{_some(names)} {'leads' if len(names) == 1 else 'lead'} into {state}",
        seen=", ".join(f"{item.variable}: {item.path}" for item in leaks[:3]),
        expected=f"paths in {_prefix(subject).prefix}, or none",
        remedy=f"unset {' '.join(names)}",
    )


def leaked(shell: ShellFacts) -> tuple[ForeignValue, ...]:
    """The variables of an environment that is not activated (any more)."""
    return tuple(item for item in shell.foreign if not item.active)


@check(
    level="static",
    needs=("host", "prefix"),
    symptom="Error: mkl-service + Intel(R) MKL: MKL_THREADING_LAYER=INTEL is incompatible with"
    " libgomp.so.1 library.",
    cause="torch brings GNU's OpenMP into the process; mkl-service is then asked for Intel's and"
    " ends it. Launchers of several processes hand the variable on to their children",
    fix="MKL_THREADING_LAYER=GNU, or no such variable, or numpy imported before torch",
    why="a process that imports torch before numpy ends, as the workers of a launcher do",
    source="IntelPython/mkl-service#14, pytorch/pytorch#37377, InternLM/xtuner#350",
)
def mkl_threading_layer(subject: Subject) -> Iterator[Finding]:
    """MKL is not told to use Intel's OpenMP beside torch's."""
    prefix, variables = _prefix(subject), host_of(subject).variables
    value = variables.get("MKL_THREADING_LAYER", "")
    packages = {item.name for item in (*prefix.conda, *prefix.wheels)}
    if "mkl-service" not in packages or prefix.torch is None:
        raise NotApplicable("torch and mkl-service are not both here")
    if value.upper() != "INTEL" or variables.get("MKL_SERVICE_FORCE_INTEL"):
        return
    yield Finding(
        message="MKL_THREADING_LAYER asks for Intel's OpenMP, and torch loads GNU's",
        seen=f"MKL_THREADING_LAYER={value}, and mkl-service is installed",
        expected="MKL_THREADING_LAYER=GNU, or unset",
        remedy="export MKL_THREADING_LAYER=GNU",
    )


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: Unrecognized CachingAllocator option: expandable_segments",
    cause="PYTORCH_CUDA_ALLOC_CONF was written for another release of torch, or misspelled; its new"
    " name, PYTORCH_ALLOC_CONF, is not read before torch 2.10",
    fix="take the option out, or set the name that this torch reads",
    why="torch stops when CUDA is first used, or works as if nothing were set",
    source="pytorch/pytorch#123505, pytorch/pytorch#183387",
)
def alloc_conf_invalid(subject: Subject) -> Iterator[Finding]:
    """What is set for torch's CUDA allocator is what this torch understands."""
    variables = host_of(subject).variables
    texts = {
        name: variables[name]
        for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
        if variables.get(name, "").strip()
    }
    if not texts:
        return
    cuda_of(subject)  # a CPU build reads none of it
    torch = torch_release(subject)
    if torch < allocator.FIRST:
        raise NotApplicable("this torch reads no such variable")
    for name, text in texts.items():
        if name == "PYTORCH_ALLOC_CONF" and torch < allocator.RENAMED:
            if len(texts) == 1:
                yield _not_read(text, torch)
        else:
            yield from _wrong_options(name, text, torch)


def _not_read(text: str, torch: allocator.Release) -> Finding:
    return Finding(
        message=f"torch {torch[0]}.{torch[1]} does not read PYTORCH_ALLOC_CONF",
        seen=f"PYTORCH_ALLOC_CONF={text}",
        expected="PYTORCH_CUDA_ALLOC_CONF, as it was called before torch 2.10",
        remedy=f"export PYTORCH_CUDA_ALLOC_CONF={shlex.quote(text)}",
        severity="warning",
    )


def _wrong_options(name: str, text: str, torch: allocator.Release) -> Iterator[Finding]:
    spelled = f"torch {torch[0]}.{torch[1]}"
    try:
        found = allocator.read(text)
    except allocator.Malformed as error:
        yield Finding(
            message=f"{name} cannot be read: {error}",
            seen=f"{name}={text}",
            expected="`option:value`, joined by commas",
            remedy=f"unset {name}",
        )
        return
    wrong = dict(allocator.problems(found, torch))
    if wrong:
        option, reason = next(iter(wrong.items()))
        rest = ",".join(f"{key}:{value}" for key, value in found if key not in wrong)
        yield Finding(
            message=f"{spelled} stops at {name}: `{option}` {reason}",
            seen=f"{name}={text}",
            expected=f"options that {spelled} knows",
            remedy=f"export {name}={shlex.quote(rest)}" if rest else f"unset {name}",
        )
    unknown = [key for key, _ in found if key not in allocator.options()]
    if unknown and torch > allocator.NEWEST:
        raise CannotLook(f"we do not know the options of {spelled}: `{unknown[0]}`")


# --- the processor --------------------------------------------------------------------------


@check(
    level="static",
    needs=("host",),
    symptom="Illegal instruction (core dumped), at `import torch` or at the first operation",
    cause="a package was built for newer processors than this one, or a virtual machine hides what"
    " its processor can do",
    fix="packages for a lower level of x86-64, or a newer node",
    why="the process is ended by the processor, with no word of Python's",
    source="pytorch/pytorch#43300, pytorch/pytorch#37577, x86-64 psABI",
)
def illegal_instruction(subject: Subject) -> Iterator[Finding]:
    """This processor knows the instructions that the packages were built with."""
    ended = _ended_by_sigill(subject)
    if subject.platform != "linux-64":
        raise NotApplicable("levels are those of x86-64")
    flags = shell_of(subject).cpu_flags
    if not flags and not ended:
        raise CannotLook("`/proc/cpuinfo` names no instructions")
    level = _level(flags)
    package, needed = max(_needs(subject), key=lambda item: item[1], default=("", 1))
    if flags and needed > level:
        missing = sorted(_wanted(needed) - flags)
        yield Finding(
            message=f"{package} is built for x86-64-v{needed}, and this processor is v{level}",
            seen=f"no {_some(missing)}",
            expected=f"a processor of level x86-64-v{needed}",
            remedy=f"lock for this machine: `__archspec` x86_64_v{level} in virtual-packages.yml,"
            " then `envforge lock`",
        )
    elif ended or _torch_lacks(subject, flags):
        yield from _torch_cannot(flags, ended=ended)


def _torch_cannot(flags: frozenset[str], *, ended: str) -> Iterator[Finding]:
    missing = [name for name in ("avx", "avx2") if flags and name not in flags]
    hopeless = bool(ended) or "avx" in missing
    yield Finding(
        message=f"torch {ended or 'is built for processors with AVX2'}"
        + (f", and this one has no {missing[0].upper()}" if missing else ""),
        seen=f"no {_some(missing)} in /proc/cpuinfo" if missing else f"torch {ended}",
        expected="a processor with AVX2, and packages for it",
        remedy="use a newer node; in a virtual machine, give it the host's processor",
        severity="error" if hopeless else "warning",
    )


def _torch_lacks(subject: Subject, flags: frozenset[str]) -> bool:
    """Whether torch is here, unproven, and this processor lacks what it uses."""
    has_torch = subject.target is not None or bool(subject.prefix and subject.prefix.torch)
    torch = subject.probe.torch if subject.probe else None
    proven = torch is not None and torch.version is not None and torch.ending.is_good
    return has_torch and not proven and not flags.issuperset({"avx", "avx2"})


def _ended_by_sigill(subject: Subject) -> str:
    """`ends by an illegal instruction at `import torch``; empty: nothing did."""
    probe = subject.probe
    if probe is None:
        return ""
    endings = [("", probe.torch.ending)] if probe.torch else []
    endings += [(f" on {item.device}", item.ending) for item in probe.devices]
    for where, ending in endings:
        if ending.ended == "signal 4":
            return f"ends by an illegal instruction at `{ending.stage}`{where}"
    return "ends by an illegal instruction" if "signal 4" in (probe.failure or "") else ""


def _level(flags: frozenset[str]) -> int:
    reached = [level for level in _LEVELS if _wanted(level) <= flags]
    return max(reached, default=1)


def _wanted(level: int) -> frozenset[str]:
    return frozenset().union(*(names for step, names in _LEVELS.items() if step <= level))


def _needs(subject: Subject) -> Iterator[tuple[str, int]]:
    """Packages that ask for a level; the marker's own version only where none says what it needs.

    The marker is installed at the level of the machine it was solved on, which may be higher.
    """
    installed = {item.name for item in subject.prefix.conda} if subject.prefix else None
    found = list(shell_of(subject).level_needs)
    markers: list[tuple[str, int]] = []
    for item in subject.locked or ():
        if item.manager != "conda" or (installed and item.name not in installed):
            continue
        if _MICROARCH.fullmatch(item.name):
            markers.append((item.name, _first_digit(item.version)))
        else:
            found += ((item.name, level) for level in _asked(item.depends))
            found += ((item.name, int(level)) for level in _LEVEL_NAME.findall(item.build))
    for package in subject.prefix.conda if subject.prefix else ():
        if _MICROARCH.fullmatch(package.name):
            markers.append((package.name, _first_digit(package.version)))
        else:
            found += ((package.name, int(level)) for level in _LEVEL_NAME.findall(package.build))
    yield from found or markers


def _asked(depends: Iterable[str]) -> Iterator[int]:
    for item in depends:
        name, _, rest = item.partition(" ")
        if _MICROARCH.fullmatch(name):
            yield _first_digit(rest)
        elif name == "__archspec":
            words = re.split(r"[\s=*]+", rest)
            yield from (_ARCHSPEC_LEVELS[word] for word in words if word in _ARCHSPEC_LEVELS)
            yield from (int(level) for level in _LEVEL_NAME.findall(rest))


def _first_digit(text: str) -> int:
    found = re.search(r"\d", text)
    return int(found[0]) if found else 1


# --- what the others stand on ---------------------------------------------------------------


def shell_of(subject: Subject) -> ShellFacts:
    """What the shell sets. Raises NotApplicable for a machine that is only described."""
    host: HostFacts = host_of(subject)
    if host.machine.origin == "described":
        raise NotApplicable("the machine is described, not present")
    if host.shell is None:
        raise CannotLook("the shell was not looked at")
    return host.shell


def torch_release(subject: Subject) -> allocator.Release:
    """Major and minor of the torch that is here, else of the one that is locked.

    Raises:
        NotApplicable: there is none.
        CannotLook: its version says nothing.
    """
    installed = subject.prefix.torch if subject.prefix else None
    version = (installed.version if installed else None) or (
        subject.target.torch if subject.target else None
    )
    if version is None:
        raise NotApplicable("torch is not here")
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise CannotLook(f"`{version}` is no version")
    return int(found[1]), int(found[2])


def _prefix(subject: Subject) -> PrefixFacts:
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def _is_within(path: str, prefix: PrefixFacts) -> bool:
    return any(_lies_in(path, root) for root in (prefix.prefix, prefix.real))


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
