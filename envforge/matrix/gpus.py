"""GPUs: finding one by what people type, and which code runs on it.

Rules of code: NVIDIA Blackwell Compatibility Guide (machine code and PTX); PyTorch
`torch/cuda/__init__.py` (integrated parts apart from cards).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from envforge.errors import InvalidValue
from envforge.matrix.tables import Board, Line, Matrix
from envforge.model.cuda import ComputeCapability
from envforge.model.machine import Gpu

Code = Literal["sass", "ptx", "none"]

_BRANDS = frozenset({"nvidia", "geforce", "tesla", "generation", "gpu"})
_CAPABILITY = re.compile(r"(?:sm_?|compute_?)\d{2,3}[af]?|\d{1,2}\.\d", re.IGNORECASE)
_PTX: Final = "+PTX"
_ONLY_PTX: Final = "(PTX)"
_COMPAT: Final[dict[Line, bool]] = {"data-center": True, "jetson": True, "geforce": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Code for one architecture, as a build holds it."""

    capability: ComputeCapability
    variant: Literal["", "a", "f"] = ""
    """`a`: runs on exactly this architecture; `f`: on its family."""
    machine_code: bool = True
    ptx: bool = False

    @classmethod
    def parse(cls, text: str) -> Compiled:
        """Read `9.0`, `9.0a`, `9.0+PTX` (machine code and PTX) or `9.0(PTX)` (PTX alone).

        Raises:
            InvalidValue: for anything else.
        """
        number = text.removesuffix(_PTX).removesuffix(_ONLY_PTX)
        return cls(
            capability=ComputeCapability.parse(number),
            variant="a" if number.endswith("a") else "f" if number.endswith("f") else "",
            machine_code=not text.endswith(_ONLY_PTX),
            ptx=text.endswith((_PTX, _ONLY_PTX)),
        )

    def __str__(self) -> str:
        mark = "" if not self.ptx else _PTX if self.machine_code else _ONLY_PTX
        return f"{self.capability}{self.variant}{mark}"


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
    can be compiled for anything from X.y on. Code with a suffix stays on its architecture (`a`)
    or family (`f`). What the driver makes of PTX is asked elsewhere.
    """
    built = [Compiled.parse(item) for item in architectures]
    if any(code.machine_code and _machine_code_runs(code, capability, matrix) for code in built):
        return "sass"
    return "ptx" if any(code.ptx and _ptx_serves(code, capability) for code in built) else "none"


def takes_compat(gpu: Gpu, matrix: Matrix) -> bool | None:
    """Whether forward compatibility (cuda-compat) holds on a GPU; None: not for us to say.

    NVIDIA promises it for data-centre boards, Jetson, and RTX boards of certified systems.
    """
    row = matrix.architecture(gpu.capability)
    if row is not None and row.integrated:
        return True
    board = _by_name(gpu.name, matrix.boards)
    if board is not None and board.line is not None:
        return _COMPAT.get(board.line)
    name = gpu.name.lower()
    if "geforce" in name or "titan" in name:
        return False
    return True if "tesla" in name else None


def describe(gpu: Gpu) -> str:
    """`H200 (9.0)`: for sentences."""
    return f"{gpu.name} ({gpu.capability})"


def _machine_code_runs(code: Compiled, device: ComputeCapability, matrix: Matrix) -> bool:
    built, device = _renamed(code.capability, matrix), _renamed(device, matrix)
    if code.variant == "a":
        return built == device
    if built.major != device.major or built.minor > device.minor:
        return False
    return _is_integrated(built, matrix) == _is_integrated(device, matrix)


def _ptx_serves(code: Compiled, device: ComputeCapability) -> bool:
    if code.variant == "a":
        return code.capability == device
    if code.variant == "f" and code.capability.major != device.major:
        return False
    return code.capability <= device


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
