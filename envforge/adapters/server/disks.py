"""The folders that work needs, the disks they are on, and what of quotas and umasks is seen."""

from __future__ import annotations

import ctypes
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envforge.adapters.quota import quota
from envforge.adapters.store.looking import filesystem
from envforge.around.server.server_facts import CACHE, ENVIRONMENTS, HOME, OWN, TEMPORARY, Spot
from envforge.model.settings import Settings

_UMASK: Final = re.compile(r"^\s*UMASK\s+(0?[0-7]{1,4})\b", re.MULTILINE)
_UNSYNCHRONISED: Final = 0x0040  # STA_UNSYNC, linux/timex.h
_STATUS_AT: Final = 40
"""Where `status` lies in struct timex with longs of 8 bytes: modes, offset, freq, maxerror,
esterror come first (linux/timex.h)."""
_TIMEX_BYTES: Final = 208


def spots(settings: Settings) -> tuple[Spot, ...]:
    """Each with the disk that it is on, or will be."""
    return tuple(_spots(settings))


def _spots(settings: Settings) -> Iterator[Spot]:
    temporary = settings.environment.get("TMPDIR") or tempfile.gettempdir()
    for name, path in (
        (HOME, settings.home),
        (ENVIRONMENTS, settings.prefixes),
        (CACHE, settings.package_cache),
        (OWN, settings.cache),
        (TEMPORARY, Path(temporary)),
    ):
        place = filesystem.place(path)
        blocks, files = quota(place.device)
        yield Spot(name=name, place=place, quota_bytes=blocks, quota_files=files)


def login_umask(root: Path = Path("/")) -> int | None:
    """What logins get by login.defs(5); None: it does not tell."""
    try:
        text = (root / "etc/login.defs").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = _UMASK.search(text)
    return int(found[1], 8) if found else None


def clock_kept() -> bool | None:
    """Whether the kernel counts its clock as kept right; None: it does not tell.

    The call changes nothing where `modes` is 0 (adjtimex(2)).
    """
    answer = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(answer)
    except (OSError, AttributeError):
        return None
    if state < 0 or ctypes.sizeof(ctypes.c_long) != 8:
        return None
    status = int.from_bytes(answer.raw[_STATUS_AT : _STATUS_AT + 4], "little")
    return not status & _UNSYNCHRONISED
