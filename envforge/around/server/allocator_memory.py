"""Adds up what PyTorch's caching allocator holds, and what of it can be given back.

Also loaded, by its path, inside other people's programs: standard library only, Python 3.8. What
it reads is `torch.cuda.memory_snapshot()`: a list of segments, each with its blocks in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SMALL_PAGE = 2 << 20
LARGE_PAGE = 20 << 20
"""Bytes in which an expandable segment is mapped (kSmallBuffer and kLargeBuffer of PyTorch's
c10/cuda/CUDACachingAllocator): only a whole one can be given back."""
_FREE = "inactive"


def summed(segments: Iterable[dict[str, Any]]) -> dict[int, dict[str, int]]:
    """By device: bytes allocated, reserved and releasable, and the number of segments.

    Args:
        segments: as torch tells; fields that a release does not have count as absent.
    """
    found: dict[int, dict[str, int]] = {}
    for segment in segments:
        into = found.setdefault(
            int(segment.get("device", 0)),
            {"allocated": 0, "reserved": 0, "releasable": 0, "segments": 0},
        )
        into["segments"] += 1
        into["reserved"] += int(segment["total_size"])
        into["allocated"] += int(segment["allocated_size"])
        into["releasable"] += releasable(segment)
    return found


def releasable(segment: dict[str, Any]) -> int:
    """Bytes of a segment that `torch.cuda.empty_cache()` gives back to the driver.

    A plain segment goes as a whole, when no block of it is in use; of an expandable one every
    page that no block in use touches.
    """
    blocks: list[dict[str, Any]] = list(segment.get("blocks") or ())
    total = int(segment["total_size"])
    if not segment.get("is_expandable"):
        return total if all(block["state"] == _FREE for block in blocks) else 0
    page = SMALL_PAGE if segment.get("segment_type") == "small" else LARGE_PAGE
    freed = place = 0
    for block in blocks:
        end = place + int(block["size"])
        if block["state"] == _FREE:
            first, last = -(-place // page) * page, end // page * page
            freed += max(0, last - first)
        place = end
    return freed
