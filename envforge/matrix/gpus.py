"""GPUs: finding one by what people type, and which code runs on it.

Rules of code: NVIDIA Blackwell Compatibility Guide (machine code and PTX); PyTorch
`torch/cuda/__init__.py` (integrated parts apart from cards).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from envforge.errors import InvalidValue
from envforge.matrix.tables import Board, Matrix
from envforge.model.cuda import ComputeCapability
from envforge.model.machine import Gpu

Code = Literal["sass", "ptx", "none"]

_BRANDS = frozenset({"nvidia", "geforce", "tesla", "generation", "gpu"})
_CAPABILITY = re.compile(r"(?:sm_?|compute_?)\d{2,3}[af]?|\d{1,2}\.\d", re.IGNORECASE)
_PTX = "+PTX"


def find(name: str, matrix: Matrix) -> Gpu:
    """The GPU a person means: `H200`, `rtx 4090`, `A100-SXM4-80GB`, `sm_90`, `9.0`.

    Raises:
        InvalidValue: an unknown name, with the nearest that are known.
    """
    if _CAPABILITY.fullmatch(name.strip()):
        return _by_capability(name.strip(), matrix)
    board = _by_name(name, matrix.boards)
    if board is not None:
        own_name = name.strip() if "nvidia" in name.lower() else board.name
        return Gpu(name=own_name, capability=board.capability)
    raise InvalidValue(
        what="GPU",
        value=name,
        reason="is not a name we know",
        remedy=_suggestion(_compact(name), matrix.boards),
    )


def kernels(capability: ComputeCapability, architectures: Sequence[str], matrix: Matrix) -> Code:
    """Whether code for these architectures runs on a GPU: as machine code, or from PTX.

    Machine code for X.y runs on X.z with z >= y, cards and integrated parts apart; PTX for X.y
    can be compiled for anything from X.y on. What the driver makes of PTX is asked elsewhere.
    """
    built = [ComputeCapability.parse(item.removesuffix(_PTX)) for item in architectures]
    if any(_machine_code_runs(code, capability, matrix) for code in built):
        return "sass"
    with_ptx = [
        code for code, item in zip(built, architectures, strict=True) if item.endswith(_PTX)
    ]
    return "ptx" if any(code <= capability for code in with_ptx) else "none"


def describe(gpu: Gpu) -> str:
    """`H200 (9.0)`: for sentences."""
    return f"{gpu.name} ({gpu.capability})"


def _machine_code_runs(code: ComputeCapability, device: ComputeCapability, matrix: Matrix) -> bool:
    code, device = _renamed(code, matrix), _renamed(device, matrix)
    if code.major != device.major or code.minor > device.minor:
        return False
    return _is_integrated(code, matrix) == _is_integrated(device, matrix)


def _renamed(capability: ComputeCapability, matrix: Matrix) -> ComputeCapability:
    aliases = {row.alias: row.capability for row in matrix.architectures if row.alias}
    return aliases.get(capability, capability)


def _is_integrated(capability: ComputeCapability, matrix: Matrix) -> bool:
    row = matrix.architecture(capability)
    return bool(row and row.integrated)


def _by_name(name: str, boards: Sequence[Board]) -> Board | None:
    """The board with the longest name that the text begins with, or the only one it is part of."""
    wanted = _words(name)
    for words in (wanted, ["rtx", *wanted], ["gtx", *wanted]):
        found = [board for board in boards if _begins(words, _compact(board.name))]
        if found:
            return max(found, key=lambda board: len(board.name))
    text = "".join(wanted)
    around = [board for board in boards if len(text) >= 4 and text in _compact(board.name)]
    return around[0] if len({board.capability for board in around}) == 1 else None


def _words(name: str) -> list[str]:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return [word for word in words if word and word not in _BRANDS]


def _compact(name: str) -> str:
    return "".join(_words(name))


def _begins(words: Sequence[str], board: str) -> bool:
    """Whether words begin with a board's name, and its number does not go on: A100, not A1000."""
    if any("".join(words[:count]) == board for count in range(1, len(words) + 1)):
        return True
    text = "".join(words)
    rest = text.removeprefix(board)
    return text.startswith(board) and not rest[:1].isdigit()


def _by_capability(text: str, matrix: Matrix) -> Gpu:
    capability = _renamed(ComputeCapability.parse(text), matrix)
    row = matrix.architecture(capability)
    if row is not None:
        return Gpu(name=f"sm_{capability.major}{capability.minor}", capability=capability)
    known = ", ".join(str(row.capability) for row in matrix.architectures)
    raise InvalidValue(
        what="compute capability",
        value=text,
        reason="is not one that a GPU has",
        remedy=f"known: {known}",
    )


def _suggestion(wanted: str, boards: Sequence[Board]) -> str:
    from difflib import get_close_matches

    names = {_compact(board.name): board.name for board in boards}
    close = [key for key in names if wanted and wanted in key]
    close += [key for key in get_close_matches(wanted, names, n=3, cutoff=0.5) if key not in close]
    if not close:
        return "give its compute capability instead, for example `--gpu 9.0`"
    nearest = " or ".join(f"`{names[key]}`" for key in close[:3])
    return f"did you mean {nearest}? Its compute capability, such as `--gpu 9.0`, does too"
