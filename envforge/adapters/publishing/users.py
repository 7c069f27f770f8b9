"""Which processes use a prefix, as far as this machine shows it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def users_of(prefix: Path) -> tuple[str, ...]:
    """Those that run from it, work in it or have its libraries mapped: `python (4711)`.

    Processes of other users show themselves to root only, those on other machines to nobody.
    """
    real = f"{prefix.resolve()}/"
    pids = sorted((name for name in os.listdir(_PROC) if name.isdigit()), key=int)  # noqa: PTH208
    return tuple(f"{_name(_PROC / pid)} ({pid})" for pid in pids if _uses(_PROC / pid, real))


def _uses(process: Path, real: str) -> bool:
    links = (_target(process / name) for name in ("exe", "cwd"))
    return any(f"{target}/".startswith(real) for target in links) or f" {real}" in _text(
        process / "maps"
    )


def _target(link: Path) -> str:
    """Empty: the kernel's own have none, others' are not shown, or it has ended."""
    try:
        return os.readlink(link)  # noqa: PTH115
    except OSError:
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _name(process: Path) -> str:
    return _text(process / "comm").strip() or "process"
