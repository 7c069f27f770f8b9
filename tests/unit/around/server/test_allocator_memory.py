"""What `torch.cuda.memory_snapshot()` adds up to."""

from __future__ import annotations

from typing import Any

import pytest

from envforge.around.server.allocator_memory import releasable, summed

MIB = 2**20


def segment(*blocks: tuple[int, bool], **given: Any) -> dict[str, Any]:
    """Blocks as MiB and whether they are in use."""
    listed = [
        {"size": size * MIB, "state": "active_allocated" if used else "inactive"}
        for size, used in blocks
    ]
    used = sum(size for size, used in blocks if used) * MIB
    total = sum(size for size, _ in blocks) * MIB
    return {"device": 0, "total_size": total, "allocated_size": used, "blocks": listed, **given}


@pytest.mark.parametrize(
    ("blocks", "back"),
    [(((20, False),), 20), (((10, False), (10, False)), 20), (((2, True), (18, False)), 0)],
)
def test_a_plain_segment_goes_as_a_whole(blocks: Any, back: int) -> None:
    assert releasable(segment(*blocks)) == back * MIB


def test_a_block_that_a_stream_still_uses_keeps_its_segment() -> None:
    """`active_pending_free`: freed by the program, and a kernel may still read it."""
    held = segment((20, False))
    held["blocks"][0]["state"] = "active_pending_free"

    assert releasable(held) == 0


@pytest.mark.parametrize(
    ("kind", "blocks", "back"),
    [
        ("large", ((20, True), (40, False)), 40),
        ("large", ((10, True), (50, False)), 40),  # half of the first page is in use
        ("large", ((10, True), (25, False), (25, True)), 0),
        ("small", ((1, True), (5, False)), 4),
        ("large", ((60, False),), 60),
    ],
)
def test_an_expandable_segment_goes_page_by_page(kind: str, blocks: Any, back: int) -> None:
    found = segment(*blocks, is_expandable=True, segment_type=kind)

    assert releasable(found) == back * MIB


def test_devices_are_added_up_apart() -> None:
    found = summed([segment((4, True)), segment((6, False)), segment((1, True), device=1)])

    assert found == {
        0: {"allocated": 4 * MIB, "reserved": 10 * MIB, "releasable": 6 * MIB, "segments": 2},
        1: {"allocated": MIB, "reserved": MIB, "releasable": 0, "segments": 1},
    }
