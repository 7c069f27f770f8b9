"""What the probe's JSON says of the interpreter, of torch and of each device becomes facts.

Everything is looked at before it is believed: an interpreter that is broken, or that is no Python
at all, may print anything between the two markers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from envforge.model.cuda import ComputeCapability
from envforge.model.finding import Level
from envforge.verify.facts import (
    AllReduce,
    CompileRun,
    CompileStep,
    Copy,
    DeviceMemory,
    DeviceRun,
    Ending,
    ImportRun,
    NumpyRun,
    ProbeFacts,
    Rank,
    TorchRun,
    Trial,
)

_T = TypeVar("_T")
_Part = Mapping[str, Any]

_HITS: Final = ("fxgraph_cache_hit", "autograd_cache_hit")
_MISSES: Final = ("fxgraph_cache_miss", "autograd_cache_miss")
_BYPASSES: Final = ("fxgraph_cache_bypass", "autograd_cache_bypass")


class Garbled(ValueError):
    """The document is none that the probe writes; the text says where."""


def probe_facts(document: _Part, level: Level) -> ProbeFacts:
    """What the environment's interpreter found.

    Raises:
        Garbled: the document is not one of the probe's.
    """
    python = _part(document, "python") or {}
    torch, imports = _part(document, "torch"), _part(document, "imports") or {}
    return ProbeFacts(
        level=level,
        python=_text(python, "version"),
        executable=_text(python, "executable"),
        prefix=_text(python, "prefix"),
        base_prefix=_text(python, "base_prefix"),
        include=_text(python, "include"),
        path=_texts(python, "path"),
        user_site=_text(python, "user_site"),
        torch=_torch_run(torch) if torch is not None else None,
        ssl=_one(document, "ssl", lambda part: _import_run({**part, "name": "ssl"})),
        imports=_each(imports, "runs", _import_run),
        imports_ending=_ending(imports),
        devices=_each(document, "devices", _device_run),
        compile=_each(document, "compile", _compile_run),
        all_reduce=_one(document, "all_reduce", _all_reduce),
    )


def _ending(part: _Part) -> Ending:
    error = _part(part, "error") or {}
    return Ending(
        ended=_text(part, "ended") or "done",
        stage=_text(part, "stage") or "",
        message=_error(part),
        trace=_text(error, "traceback") or _text(part, "output") or "",
    )


def _error(part: _Part) -> str:
    """`RuntimeError: CUDA error: …`; empty: nothing was raised."""
    error = _part(part, "error") or {}
    kind = _text(error, "type")
    return f"{kind}: {_text(error, 'message') or ''}" if kind else ""


def _torch_run(part: _Part) -> TorchRun:
    modules = _part(part, "modules") or {}
    return TorchRun(
        ending=_ending(part),
        version=_text(part, "version"),
        file=_text(part, "file"),
        cuda=_text(part, "cuda"),
        hip=_text(part, "hip"),
        nccl=_text(part, "nccl"),
        available=_flag(part, "available"),
        device_count=_whole(part, "device_count"),
        cudnn_compiled=_text(part, "cudnn_compiled"),
        cudnn_loaded=_text(part, "cudnn_loaded"),
        cudnn_error=_text(part, "cudnn_error"),
        architectures=_texts(part, "architectures"),
        libraries=_texts(part, "libraries"),
        warnings=_texts(part, "warnings"),
        import_warnings=_texts(part, "import_warnings"),
        output=_text(part, "output") or "",
        seconds=_number(part, "seconds"),
        numpy=_one(part, "numpy", _numpy_run),
        modules={name: path for name, path in modules.items() if isinstance(path, str)},
    )


def _numpy_run(part: _Part) -> NumpyRun:
    return NumpyRun(
        version=_text(part, "version"),
        file=_text(part, "file"),
        bridge=_flag(part, "bridge"),
        error=_error(part),
    )


def _import_run(part: _Part) -> ImportRun:
    return ImportRun(
        name=_text(part, "name") or "?",
        ending=_ending(part),
        seconds=_number(part, "seconds"),
        warnings=_texts(part, "warnings"),
        version=_text(part, "version"),
        file=_text(part, "file"),
    )


def _device_run(part: _Part) -> DeviceRun:
    kernel, matmul = _part(part, "kernel") or {}, _part(part, "matmul") or {}
    return DeviceRun(
        device=_text(part, "device") or "?",
        visible=_text(part, "visible"),
        ending=_ending(part),
        name=_text(part, "name"),
        capability=_capability(part),
        memory_bytes=_whole(part, "memory"),
        kernel_right=_flag(kernel, "right"),
        matmul_right=_flag(matmul, "right"),
        matmul_error=_number(matmul, "worst"),
        trials=_each(part, "trials", _trial),
        copies=_each(part, "copies", _copy),
        copies_skipped=_text(part, "copies_skipped") or "",
        before=_one(part, "memory_before", _memory) or DeviceMemory(),
        after=_one(part, "memory_after", _memory) or DeviceMemory(),
        libraries=_texts(part, "libraries"),
    )


def _capability(part: _Part) -> ComputeCapability | None:
    numbers = part.get("capability")
    if numbers is None:
        return None
    if not isinstance(numbers, list) or len(numbers) != 2:
        raise Garbled("`capability` is not two numbers")
    major, minor = (_typed(item, int, "capability") for item in numbers)
    return ComputeCapability(major, minor)


def _trial(part: _Part) -> Trial:
    return Trial(
        name=_text(part, "name") or "?",
        right=_flag(part, "right"),
        worst=_number(part, "worst"),
        error=_error(part),
        skipped=_text(part, "skipped") or "",
        seconds=_number(part, "seconds"),
    )


def _copy(part: _Part) -> Copy:
    return Copy(
        name=_text(part, "name") or "?",
        right=_flag(part, "right"),
        gigabytes_per_second=_number(part, "gigabytes_per_second"),
        error=_error(part),
    )


def _memory(part: _Part) -> DeviceMemory:
    return DeviceMemory(
        free=_whole(part, "free"),
        total=_whole(part, "total"),
        allocated=_whole(part, "allocated"),
        reserved=_whole(part, "reserved"),
        most_allocated=_whole(part, "most_allocated"),
        most_reserved=_whole(part, "most_reserved"),
    )


def _compile_run(part: _Part) -> CompileRun:
    return CompileRun(
        device=_text(part, "device") or "?",
        first=_one(part, "first", _compile_step) or CompileStep(),
        second=_one(part, "second", _compile_step),
    )


def _compile_step(part: _Part) -> CompileStep:
    counters = _part(part, "counters") or {}

    def counted(*names: str) -> int:
        return sum(_whole(counters, name) or 0 for name in names)

    return CompileStep(
        ending=_ending(part),
        right=_flag(_part(part, "result") or {}, "right"),
        seconds=_number(part, "seconds"),
        skipped=_text(part, "skipped") or "",
        hits=counted(*_HITS),
        misses=counted(*_MISSES),
        bypasses=counted(*_BYPASSES),
    )


def _all_reduce(part: _Part) -> AllReduce:
    runs = part.get("runs")
    if not isinstance(runs, list) or not runs:
        raise Garbled("`runs` of the all-reduce is not a list of runs")
    ranks = [_each({"ranks": item}, "ranks", _rank) for item in runs]
    return AllReduce(ranks=ranks[0], without_p2p=ranks[1] if len(ranks) > 1 else ())


def _rank(part: _Part) -> Rank:
    return Rank(
        ending=_ending(part),
        right=_flag(part, "right"),
        seconds=_number(part, "seconds"),
        skipped=_text(part, "skipped") or "",
    )


# --- values, looked at before they are believed ----------------------------------------------


def _typed(value: object, kind: type[_T], name: str) -> _T:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Garbled(f"`{name}` is a {type(value).__name__}")
    return value


def _text(part: _Part, name: str) -> str | None:
    value = part.get(name)
    return None if value is None else _typed(value, str, name)


def _flag(part: _Part, name: str) -> bool | None:
    value = part.get(name)
    return None if value is None else _typed(value, bool, name)


def _whole(part: _Part, name: str) -> int | None:
    value = part.get(name)
    return None if value is None else _typed(value, int, name)


def _number(part: _Part, name: str) -> float | None:
    value = part.get(name)
    if type(value) is int and abs(value) < 2**53:
        return float(value)
    return None if value is None else _typed(value, float, name)


def _part(part: _Part, name: str) -> dict[str, Any] | None:
    value = part.get(name)
    return None if value is None else _typed(value, dict, name)


def _parts(part: _Part, name: str) -> list[Any]:
    value = part.get(name)
    return [] if value is None else _typed(value, list, name)


def _texts(part: _Part, name: str) -> tuple[str, ...]:
    return tuple(_typed(item, str, name) for item in _parts(part, name))


def _one(part: _Part, name: str, read: Callable[[dict[str, Any]], _T]) -> _T | None:
    value = _part(part, name)
    return None if value is None else read(value)


def _each(part: _Part, name: str, read: Callable[[dict[str, Any]], _T]) -> tuple[_T, ...]:
    return tuple(read(_typed(item, dict, name)) for item in _parts(part, name))
