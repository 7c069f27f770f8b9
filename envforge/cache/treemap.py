"""Rectangles whose areas are bytes. Pure.

The squarified treemap of Bruls, Huizing and van Wijk ("Squarified Treemaps", 2000): rows are filled
along the shorter side for as long as that makes the rectangles squarer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from envforge.cache.usage import ELSEWHERE, OTHER, UNUSED, Part, Usage, UsedFile


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Box:
    """A rectangle; y grows downwards."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Bytes of one repository that the same users use; no byte is in two shares."""

    users: tuple[str, ...]
    """Environments, or trees, sorted; empty: none."""
    repo: str
    """Where several have the file, the first of them, and how many more: `org/name +1`."""
    part: Part
    bytes: int


def shares(usage: Usage) -> tuple[Share, ...]:
    """Split what is on the disk by who uses it, and by repository; the largest first."""
    sums: dict[tuple[tuple[str, ...], str, Part], int] = defaultdict(int)
    for item in usage.files:
        sums[_users(item), _repo(item), item.part(is_shared=len(item.consumers) > 1)] += (
            item.facts.disk
        )
    found = [
        Share(users=users, repo=repo, part=part, bytes=size)
        for (users, repo, part), size in sums.items()
        if size
    ]
    return tuple(sorted(found, key=lambda item: (-item.bytes, item.users, item.repo)))


def _users(item: UsedFile) -> tuple[str, ...]:
    if item.is_reclaimable:
        return ()
    return tuple(sorted({use.environment for use in item.uses if use.is_live})) or (ELSEWHERE,)


def _repo(item: UsedFile) -> str:
    repos = sorted({use.repo or OTHER for use in item.uses})
    if not repos:
        return ELSEWHERE if item.has_other_names else UNUSED
    return repos[0] if len(repos) == 1 else f"{repos[0]} +{len(repos) - 1}"


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Rectangles that fill the box, one for each size, which descend and are above 0."""
    total = sum(sizes)
    if not total:
        return []
    scale = box.width * box.height / total
    areas = [size * scale for size in sizes]
    boxes: list[Box] = []
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        if not side:  # rounded away: too small to be seen beside the others
            boxes += [box] * (len(areas) - start)
            break
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(
            areas[start:end], side
        ):
            end += 1
        row, box = _lay_row(areas[start:end], box)
        boxes += row
        start = end
    return boxes


def _worst(row: Sequence[float], side: float) -> float:
    """The longest of the row's rectangles, as long side by short side."""
    total = sum(row)
    return max(side * side * max(row) / total**2, total**2 / (side * side * min(row)))


def _lay_row(row: Iterable[float], box: Box) -> tuple[list[Box], Box]:
    """The row along the shorter side, and what is left of the box."""
    areas = list(row)
    is_wide = box.width >= box.height
    side = box.height if is_wide else box.width
    total = sum(areas)
    depth = min(total / side, box.width if is_wide else box.height)
    boxes, at = [], 0.0
    for area in areas:
        length = side * area / total  # not `area / depth`: thin rows would leave the box
        boxes.append(
            Box(x=box.x, y=box.y + at, width=depth, height=length)
            if is_wide
            else Box(x=box.x + at, y=box.y, width=length, height=depth)
        )
        at += length
    if is_wide:
        return boxes, Box(
            x=box.x + depth, y=box.y, width=max(0.0, box.width - depth), height=box.height
        )
    return boxes, Box(
        x=box.x, y=box.y + depth, width=box.width, height=max(0.0, box.height - depth)
    )
