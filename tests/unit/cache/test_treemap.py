"""Rectangles whose areas are bytes."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.cache.survey import FileFacts, StoredFile, Survey, Tree, TreeFile, TreeSnapshot
from envforge.cache.treemap import Box, Share, shares, squarify
from envforge.cache.usage import usage

BOX = Box(x=1, y=2, width=10, height=6)


@given(st.lists(st.integers(1, 10**13), min_size=1, max_size=30))
def test_areas_are_sizes_and_nothing_overlaps(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    boxes = squarify(sizes, BOX)
    for size, box in zip(sizes, boxes, strict=True):
        assert box.width * box.height == pytest.approx(60 * size / sum(sizes), abs=1e-6)
        assert box.x >= BOX.x - 1e-6
        assert box.y >= BOX.y - 1e-6
        assert box.x + box.width <= BOX.x + BOX.width + 1e-6
        assert box.y + box.height <= BOX.y + BOX.height + 1e-6
    for one, other in combinations(boxes, 2):
        width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert min(width, height) < 1e-6


def test_the_example_of_the_paper() -> None:
    """Bruls et al., figure 4: 6, 6, 4, 3, 2, 2, 1 in a box of 6 by 4."""
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(x=0, y=0, width=6, height=4))
    assert boxes[:2] == [Box(x=0, y=0, width=3, height=2), Box(x=0, y=2, width=3, height=2)]
    assert boxes[2].width == pytest.approx(12 / 7)
    assert boxes[2].height == pytest.approx(7 / 3)


def test_what_is_too_small_to_be_seen() -> None:
    large, small, smaller = squarify([10**19, 1, 1], BOX)
    assert (large.width, large.height) == (BOX.width, BOX.height)
    assert small.width * small.height == smaller.width * smaller.height == 0


def test_nothing() -> None:
    assert squarify([], BOX) == []


def facts(inode: int, links: int = 1) -> FileFacts:
    return FileFacts(
        device=1,
        inode=inode,
        size=10 * inode,
        disk=10 * inode,
        links=links,
        owner=0,
        read=None,
        changed=0,
    )


def test_every_byte_is_in_one_share() -> None:
    def tree(name: str, *inodes: int, repo: str = "o/m") -> Tree:
        return Tree(
            path=f"/v/{name}",
            user="u",
            environment=name,
            files=tuple(
                TreeFile(role="blob", repo=repo, name=str(i), facts=facts(i, 3)) for i in inodes
            ),
            snapshots=(
                TreeSnapshot(
                    repo=repo, commit="c", refs=("main",), blobs=frozenset(map(str, inodes))
                ),
            ),
        )

    seen = Survey(
        store="/s",
        stored=(
            StoredFile(sha256="1", facts=facts(1, 3)),
            StoredFile(sha256="2", facts=facts(2, 2)),
            StoredFile(sha256="3", facts=facts(3)),
            StoredFile(sha256="4", facts=facts(4, 9)),
        ),
        trees=(tree("a", 1, 2), tree("b", 1, repo="o/n")),
    )
    assert shares(usage(seen)) == (
        Share(users=("(elsewhere)",), repo="(elsewhere)", part="shared", bytes=40),
        Share(users=(), repo="(unused)", part="reclaimable", bytes=30),
        Share(users=("a",), repo="o/m", part="own", bytes=20),
        Share(users=("a", "b"), repo="o/m +1", part="shared", bytes=10),
    )
