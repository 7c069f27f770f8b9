"""Which variables the choices of `envforge env` come to. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envforge.errors import InvalidValue
from envforge.model.activation import ActivationRecord, Allocator, Choices

RENAMED: Final = (2, 10)
"""The first torch that reads PYTORCH_ALLOC_CONF for CUDA (`verify/allocator.py`)."""
_EXPANDABLE: Final = (2, 1)
_FRACTION: Final = (2, 10)
_COLLECTED: Final = (1, 12)
_MOST_THREADS: Final = 4096

Release = tuple[int, int]


def threads(text: str) -> str:
    """`auto`, `off` or a whole number, as typed.

    Raises:
        InvalidValue
    """
    if text in {"auto", "off"}:
        return text
    if text.isascii() and text.isdigit() and 0 < int(text) <= _MOST_THREADS:
        return str(int(text))
    raise InvalidValue(
        what="--threads",
        value=text,
        reason=f"is no number from 1 to {_MOST_THREADS}",
        remedy="`--threads auto` goes by the control group, `--threads off` sets nothing",
    )


def variables(choices: Choices, torch: Release | None, *, has_cuda: bool) -> dict[str, str]:
    """What goes into `conda-meta/state`; the same for everybody who enters the environment.

    Args:
        choices: what was chosen.
        torch: the release that is installed; None: none is.
        has_cuda: whether that is a CUDA build.

    Raises:
        InvalidValue: an allocator that this torch does not have.
    """
    found = {"PYTHONNOUSERSITE": "1"}
    if choices.allocator != "default":
        found |= _allocator(choices.allocator, torch, has_cuda=has_cuda)
    if choices.deterministic:
        found |= {"PYTHONHASHSEED": "0"}
        if has_cuda:
            found |= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if choices.threads.isdigit():
        found |= {
            "OMP_NUM_THREADS": choices.threads,
            "TORCHINDUCTOR_COMPILE_THREADS": choices.threads,
        }
    return found


def _allocator(choice: Allocator, torch: Release | None, *, has_cuda: bool) -> dict[str, str]:
    if torch is None or not has_cuda:
        raise InvalidValue(
            what="--allocator",
            value=choice,
            reason="is about torch's memory on GPUs, and no CUDA build is installed",
        )
    name = "PYTORCH_ALLOC_CONF" if torch >= RENAMED else "PYTORCH_CUDA_ALLOC_CONF"
    if choice == "expandable":
        if torch < _EXPANDABLE:
            raise InvalidValue(
                what="--allocator",
                value=choice,
                reason=f"came with torch 2.1, and {torch[0]}.{torch[1]} is installed",
                remedy="`--allocator shared-server` splits less and gives back sooner",
            )
        return {name: "expandable_segments:True"}
    if torch < _COLLECTED:
        raise InvalidValue(
            what="--allocator",
            value=choice,
            reason=f"needs torch 1.12, and {torch[0]}.{torch[1]} is installed",
        )
    return {name: _shared_server(torch)}


def _shared_server(torch: Release) -> str:
    """Memory that others can have: no fragments held, and from 2.10 on a tenth left to others.

    torch collects what is cached only where a process may not have all of the memory, so that
    before 2.10 the threshold counts once the program calls `set_per_process_memory_fraction`.
    """
    options = ["garbage_collection_threshold:0.8"]
    if torch >= _EXPANDABLE:
        options.append("expandable_segments:True")
    else:
        options.append("max_split_size_mb:512")
    if torch >= _FRACTION:
        options.append("per_process_memory_fraction:0.9")
    return ",".join(options)


def merged(
    wanted: Mapping[str, str],
    present: Mapping[str, str],
    record: ActivationRecord,
    locked: frozenset[str],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """What we write, and the names that we leave to who set them.

    Args:
        wanted: what the choices come to.
        present: the variables of `conda-meta/state`.
        record: what we wrote there before.
        locked: names that environment.yml declares; it is asked first.
    """
    foreign = {
        name
        for name in wanted
        if name in locked or (name in present and present[name] not in record.written.get(name, ()))
    }
    ours = {name: value for name, value in wanted.items() if name not in foreign}
    kept = tuple(sorted(name for name in foreign if present.get(name) != wanted[name]))
    return ours, kept
