"""Which GPUs does CUDA list, under which numbers, and which do variables and MIG hide?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from envforge.model.finding import Finding
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import NO_DRIVER, host_of, present, wants_gpu
from envforge.verify.checks.seen import are_comparable, in_cuda, in_nvml, is_same
from envforge.verify.facts import GpuState, HostFacts, Subject

_NUMBER: Final = re.compile(r"\s*[+-]?\d+")
_NAMED: Final = re.compile(r"(GPU|MIG)-", re.IGNORECASE)
_NOTHING: Final = ("void", "none", "")
_NO_DEVICE: Final = 100
_BY_SLOT: Final = "PCI_BUS_ID"


@dataclass(frozen=True, slots=True)
class _Problem:
    """What CUDA makes of the variable, against what was surely meant."""

    words: str
    hides_all: bool = False
    is_certain: bool = False
    """Whether it is a slip although CUDA lists GPUs: torch reads the variable by itself too."""


@check(
    level="static",
    needs=("host",),
    symptom="RuntimeError: No CUDA GPUs are available",
    why="CUDA sees no device, or fewer than were meant",
    source="ray-project/ray#7014, THUDM/slime#111; CUDA Programming Guide, CUDA_VISIBLE_DEVICES",
    cause="The variable is empty, or names a GPU that is not there: set in another shell, by a"
    " scheduler for another machine, or left over from a job. CUDA reads the list up to the first"
    " entry that it does not know, and lists nothing where one comes twice.",
    fix="Unset it, or name GPUs that `nvidia-smi -L` lists; under Slurm, ask with --gres.",
    after=(
        "slurm-no-gres",
        "container-without-gpu",
        "dev-nodes-permission",
    ),
)
def cvd_empty_or_invalid(subject: Subject) -> Iterator[Finding]:
    """CUDA_VISIBLE_DEVICES hides no GPU by mistake."""
    wants_gpu(subject)
    host = host_of(subject)
    if host.machine.origin == "described":
        raise NotApplicable("the machine is described, not present")
    yield from _runtime_hides_all(subject, host)
    value = host.variables.get("CUDA_VISIBLE_DEVICES")
    if value is None:
        return
    host = present(subject)
    states = in_nvml(host)
    problem = _read(value, states)
    if problem is None and not host.nvml.works:
        raise CannotLook("NVML does not answer, so hidden GPUs cannot be counted")
    usable = in_cuda(host)
    if problem is None or (host.nvml.works and not states):
        return
    if problem.hides_all and usable and not problem.is_certain:
        return
    seen = f"{len(usable)} of {len(states)} GPUs can be used" if states else "no GPU can be used"
    yield Finding(
        message=f"CUDA_VISIBLE_DEVICES=`{value}` {problem.words}",
        seen=seen,
        expected=f"GPU numbers from 0 to {len(states) - 1}" if states else "numbers of GPUs",
        remedy="unset CUDA_VISIBLE_DEVICES",
        severity="warning" if usable else "error",
    )


def _runtime_hides_all(subject: Subject, host: HostFacts) -> Iterator[Finding]:
    """The container runtime was told to bring no GPU."""
    value = host.variables.get("NVIDIA_VISIBLE_DEVICES")
    if value is None or value.strip().lower() not in _NOTHING:
        return
    if host.usable_gpus or in_nvml(host):
        return  # a device plug-in brought them another way
    if host.machine.driver is None and not subject.require_gpu:
        raise CannotLook(NO_DRIVER)
    yield Finding(
        message=f"NVIDIA_VISIBLE_DEVICES=`{value}` keeps every GPU out of this container",
        seen="no GPU here",
        expected="`all`, or numbers of GPUs",
        remedy="start the container with `--gpus all`, or ask for a GPU in the pod's limits",
    )


def _read(value: str, states: Sequence[GpuState]) -> _Problem | None:
    """Read the list as CUDA does: up to the first entry that is no GPU."""
    entries = value.split(",")
    if not value.strip():
        return _Problem("hides every GPU", hides_all=True)
    taken: list[str] = []
    for place, entry in enumerate(entries):
        wrong = _wrong_with(entry, states)
        if wrong is not None:
            return _cut_short(wrong, place, entries)
        taken.append(_key(entry, states))
        if taken.count(taken[-1]) > 1:
            words = f"names GPU {entry.strip()} twice, for which CUDA lists none"
            return _Problem(words, hides_all=True, is_certain=True)
    rest = [entry for entry in entries if not _NAMED.match(entry.strip()) and _tail(entry)]
    if rest:
        return _Problem(f"is read as {','.join(taken)}: entries are parted by commas")
    return None


def _cut_short(wrong: str, place: int, entries: Sequence[str]) -> _Problem | None:
    """At this place the list ends, which a negative number as the last entry may mean to do."""
    is_last = place == len(entries) - 1
    if wrong == "negative":
        if place and is_last:
            return None
        words = "hides every GPU" if not place else f"ends at `{entries[place].strip()}`"
        return _Problem(words, hides_all=not place)
    more = "" if is_last else ", and what follows it is ignored"
    return _Problem(f"{wrong}{more}", hides_all=not place)


def _wrong_with(entry: str, states: Sequence[GpuState]) -> str | None:
    """`negative`, or a clause; None: it is a GPU, or nobody can tell."""
    text = entry.strip()
    if _NAMED.match(text):
        return _unknown_name(text, states)
    number = _NUMBER.match(entry)
    if number is None:
        return "hides every GPU" if text == "NoDevFiles" else f"has `{text}`, which is no GPU"
    index = int(number[0])
    if index < 0:
        return "negative"
    if states and index >= len(states) and not any(state.mig for state in states):
        return f"names GPU {index}, which does not exist"
    return None


def _unknown_name(text: str, states: Sequence[GpuState]) -> str | None:
    """UUIDs may be cut short, as long as they mean one GPU."""
    if text.upper().startswith("MIG-GPU-"):  # drivers before 470: parent, instance and slice
        text = text[4:].partition("/")[0]
    known = [state.uuid for state in states]
    if text.upper().startswith("MIG-"):
        if not any(state.mig for state in states):
            told = [state.mig for state in states]
            return None if None in told or not told else f"names `{text}`, and MIG is off"
        known = [part.uuid for state in states for part in state.slices]
    if not known or None in known:
        return None
    fitting = [uuid for uuid in known if uuid and uuid.lower().startswith(text.lower())]
    if not fitting:
        return f"names `{text}`, which does not exist"
    return None if len(fitting) == 1 else f"names `{text}`, which is more than one GPU"


def _key(entry: str, states: Sequence[GpuState]) -> str:
    """The same for entries that mean the same GPU."""
    text = entry.strip()
    if not _NAMED.match(text):
        return str(int((_NUMBER.match(entry) or [text])[0]))
    known = [state.uuid or "" for state in states]
    known += [part.uuid for state in states for part in state.slices]
    return next((uuid for uuid in known if uuid.lower().startswith(text.lower())), text.lower())


def _tail(entry: str) -> str:
    """What comes after the number that CUDA reads."""
    return _NUMBER.sub("", entry, count=1).strip()


@check(
    level="static",
    needs=("host",),
    symptom="nvidia-smi shows a GPU, and CUDA finds none",
    why="a GPU in MIG mode is used through its slices, and there is none",
    source="NVIDIA Multi-Instance GPU User Guide; NVIDIA/k8s-device-plugin#284",
    cause="MIG mode was turned on, and no slices were made, they were lost in a reboot, or this"
    " container was given none of them.",
    fix="Make GPU and compute instances, or turn MIG mode off; in a container, ask for a slice.",
    after=("cvd-empty-or-invalid",),
)
def mig_without_slices(subject: Subject) -> Iterator[Finding]:
    """A GPU in MIG mode has slices to run on."""
    wants_gpu(subject)
    host = present(subject)
    states = [state for state in in_nvml(host) if state.mig]
    if not states:
        raise NotApplicable("no GPU here is in MIG mode")
    if host.cuda.init != _NO_DEVICE or any(state.slices for state in in_nvml(host)):
        return
    first = states[0].index
    yield Finding(
        message=f"GPU {first} is in MIG mode, and has no slice that can be used",
        seen="MIG mode on, no MIG device; cuInit returned 100",
        expected="a slice, or MIG mode off",
        remedy=f"sudo nvidia-smi mig -i {first} -cgi 0 -C makes one of the whole GPU;"
        f" sudo nvidia-smi -i {first} -mig 0 turns MIG off",
    )


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="GPU 0 of nvidia-smi is not cuda:0; jobs land on the wrong card",
    why="the number in a command means another GPU than the one that was meant",
    source="CUDA Programming Guide, CUDA_DEVICE_ORDER; pytorch/pytorch#86539",
    cause="CUDA puts the fastest GPU first, nvidia-smi goes by the slots; they differ where GPUs"
    " of several kinds are in one machine.",
    fix="Set CUDA_DEVICE_ORDER=PCI_BUS_ID everywhere, or name GPUs by UUID.",
    after=("cvd-empty-or-invalid",),
)
def device_order_mismatch(subject: Subject) -> Iterator[Finding]:
    """CUDA numbers GPUs of several kinds as nvidia-smi does, and was told to."""
    wants_gpu(subject)
    host = present(subject)
    nvml, cuda = in_nvml(host), in_cuda(host)
    if len({state.name for state in nvml if state.name}) < 2:
        raise NotApplicable("no GPUs of several kinds here")
    if not cuda:
        raise CannotLook("CUDA lists no GPU")
    if _NAMED.match(host.variables.get("CUDA_VISIBLE_DEVICES", "").strip()):
        return  # a UUID means the same to both
    message = _order_now(host, nvml, cuda)
    is_left_open = "CUDA_VISIBLE_DEVICES" not in host.variables
    if message is None and is_left_open and host.variables.get("CUDA_DEVICE_ORDER") != _BY_SLOT:
        message = (
            f"{_kinds(nvml)} are in one machine: CUDA numbers them by speed, nvidia-smi by slot"
        )
    if message is not None:
        yield Finding(
            message=message,
            seen=f"CUDA: {', '.join(state.name for state in cuda)};"
            f" nvidia-smi: {', '.join(state.name for state in nvml)}",
            expected="one order, whichever programs start CUDA",
            remedy=f"export CUDA_DEVICE_ORDER={_BY_SLOT}",
        )


def _order_now(host: HostFacts, nvml: Sequence[GpuState], cuda: Sequence[GpuState]) -> str | None:
    """The first number that means two GPUs; None: there is none."""
    by_identity = are_comparable(cuda, nvml)
    for wanted, got in _pairs(host, nvml, cuda):
        if not (is_same(wanted, got) if by_identity else wanted.name == got.name):
            return f"GPU {wanted.index} is {wanted.name} for nvidia-smi, and {got.name} for CUDA"
    return None


def _kinds(states: Sequence[GpuState]) -> str:
    return " and ".join(sorted({state.name for state in states if state.name}))


def _pairs(
    host: HostFacts, nvml: Sequence[GpuState], cuda: Sequence[GpuState]
) -> list[tuple[GpuState, GpuState]]:
    """What nvidia-smi calls a number, and what CUDA gave for it."""
    value = host.variables.get("CUDA_VISIBLE_DEVICES")
    numbers = list(range(len(nvml)))
    if value is not None:
        numbers = [int(found[0]) for e in value.split(",") if (found := _NUMBER.match(e))]
    known = {state.index: state for state in nvml}
    return [(known[n], got) for n, got in zip(numbers, cuda, strict=False) if n in known]
