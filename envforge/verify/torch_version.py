"""Versions as files and build strings tell them: torch/version.py, cuDNN's names and header."""

from __future__ import annotations

import ast
import re
from typing import Final

_CUDNN_BUILD: Final = re.compile(r"cudnn(\d+\.\d+\.\d+)")
_CUDNN_FILE: Final = re.compile(r"libcudnn\.so\.(\d+\.\d+\.\d+)$")
_CUDNN_HEADER: Final = re.compile(r"^#define CUDNN_(MAJOR|MINOR|PATCHLEVEL)\s+(\d+)", re.MULTILINE)
_CUDA_BUILD: Final = re.compile(r"(?:^|_)(?:cuda|cu)(\d{1,2})\.?(\d)(?=[_\d]|py|h|$)")
_NAMES: Final = {"__version__", "cuda", "hip", "xpu", "git_version"}


def read_torch_version(text: str) -> dict[str, str | None]:
    """The values that torch/version.py assigns, without running it.

    Keys are `__version__`, `cuda`, `hip`, `xpu` and `git_version`, as far as they are there.

    Raises:
        ValueError: it is not Python, or assigns no `__version__`.
    """
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise ValueError("not Python source") from error
    found = dict(pair for item in statements if (pair := _assigned(item)) is not None)
    if not found.get("__version__"):
        raise ValueError("assigns no `__version__`")
    return found


def _assigned(statement: ast.stmt) -> tuple[str, str | None] | None:
    # `cuda: Optional[str] = '11.8'` in later releases, `cuda = '11.8'` in earlier ones.
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target: ast.expr = statement.targets[0]
        value: ast.expr | None = statement.value
    elif isinstance(statement, ast.AnnAssign):
        target, value = statement.target, statement.value
    else:
        return None
    if not isinstance(target, ast.Name) or target.id not in _NAMES:
        return None
    if not isinstance(value, ast.Constant) or not isinstance(value.value, (str, type(None))):
        return None
    return target.id, value.value


def cudnn_of_build(build: str) -> str | None:
    """`8.7.0` in `py3.10_cuda11.8_cudnn8.7.0_0`; None where the build does not name it."""
    found = _CUDNN_BUILD.search(build)
    return found[1] if found else None


def cudnn_of_filename(name: str) -> str | None:
    """`9.10.2` in `libcudnn.so.9.10.2`; None for `libcudnn.so.9`."""
    found = _CUDNN_FILE.fullmatch(name)
    return found[1] if found else None


def cudnn_of_header(text: str) -> str | None:
    """The version that cudnn_version.h defines."""
    parts = dict(_CUDNN_HEADER.findall(text))
    if len(parts) != 3:
        return None
    return ".".join(parts[key] for key in ("MAJOR", "MINOR", "PATCHLEVEL"))


def cuda_of_build(build: str) -> str | None:
    """`11.8` in `py3.10_cuda11.8_cudnn8.7.0_0` or `cuda118_py310h…`; None: no CUDA in it."""
    found = _CUDA_BUILD.search(build)
    return f"{found[1]}.{found[2]}" if found else None


def same_release(one: str, other: str) -> bool:
    """Whether two dotted versions agree as far as both go: `9.10.2.21` and `9.10.2`."""
    left, right = (text.partition("+")[0].split(".") for text in (one, other))
    length = min(len(left), len(right))
    return left[:length] == right[:length]
