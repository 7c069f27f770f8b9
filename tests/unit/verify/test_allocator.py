"""Options of torch's allocator: how they are written, and which release knows which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.verify import allocator


def wrong(text: str, torch: tuple[int, int]) -> dict[str, str]:
    return dict(allocator.problems(allocator.read(text), torch))


def test_text_is_read_as_torch_reads_it() -> None:
    """Blanks and a comma at the end do not count; lists stay together."""
    found = allocator.read(" max_split_size_mb : 128, roundup_power2_divisions:[256:1,>:4],")
    assert found == (("max_split_size_mb", "128"), ("roundup_power2_divisions", "[256:1,>:4]"))
    assert allocator.read("  ") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("backend", "not followed by `:`"),
        ("backend:", "has no value"),
        ("backend:,max_split_size_mb:1", "has no value"),
        ("roundup_power2_divisions:[256:1", "has no end"),
        ("backend:native;max_split_size_mb:64", "not followed by `,`"),
    ],
)
def test_what_torch_cannot_read(text: str, says: str) -> None:
    with pytest.raises(allocator.Malformed, match=says):
        allocator.read(text)


@given(st.text(alphabet="ab:,[]> 1=", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = allocator.read(text)
    except allocator.Malformed:
        return
    assert all(name and value for name, value in found)


@pytest.mark.parametrize(
    ("text", "torch", "says"),
    [
        ("expandable_segments:True", (2, 0), "came with torch 2.1"),
        ("roundup_bypass_threshold_mb:64", (2, 0), "last known to torch 1.13"),
        ("max_split_size:64", (2, 7), "did you mean `max_split_size_mb`?"),
        ("max_split_size_mb=64:1", (2, 7), "joined by `:`"),
        ("something:1", (2, 7), "is no option that torch knows"),
        ("expandable_segments:1", (2, 7), "not `True` or `False`"),
        ("backend:cuda", (2, 7), "not `native` or `cudaMallocAsync`"),
        ("max_split_size_mb:many", (2, 7), "no number"),
        ("max_split_size_mb:10", (2, 7), "at least 20"),
        ("garbage_collection_threshold:1", (2, 7), "between 0 and 1"),
        ("per_process_memory_fraction:2", (2, 10), "at most 1"),
        ("pinned_num_register_threads:3", (2, 7), "no power of two"),
        ("pinned_num_register_threads:256", (2, 7), "at most 128"),
        ("roundup_power2_divisions:3", (2, 7), "no power of two"),
    ],
)
def test_what_torch_refuses(text: str, torch: tuple[int, int], says: str) -> None:
    [reason] = wrong(text, torch).values()
    assert says in reason


@pytest.mark.parametrize(
    ("text", "torch"),
    [
        ("expandable_segments:True", (2, 1)),
        ("max_split_size_mb:64MB", (1, 9)),
        ("max_split_size_mb:8,large_segment_size_mb:4", (2, 11)),
        ("per_process_memory_fraction:0.5", (2, 10)),
        ("backend:native,roundup_power2_divisions:4", (2, 0)),
        ("brand_new_option:1", (2, 99)),
    ],
)
def test_what_torch_takes(text: str, torch: tuple[int, int]) -> None:
    assert wrong(text, torch) == {}


def test_every_row_of_the_table_is_whole() -> None:
    kinds = {item.value for item in allocator.options().values()}
    assert kinds == {
        "boolean",
        "fraction",
        "inner fraction",
        "megabytes",
        "block",
        "threads",
        "divisions",
        "backend",
    }
    for item in allocator.options().values():
        assert allocator.FIRST <= item.first <= allocator.NEWEST
        assert item.last is None or item.first <= item.last
        assert item.source
