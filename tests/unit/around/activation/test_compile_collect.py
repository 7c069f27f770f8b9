"""What goes is the least recently used, in whole pieces, and no more than asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.around.activation.compile_collect import is_finished, plan, unit
from envforge.model.compile_cache import CompiledFile

MACHINE = "x86-64-v3+nvidia-h200"


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("m/triton/HASH/kernel.cubin", "m/triton/HASH"),
        ("m/inductor/fxgraph/ab/KEY/entry", "m/inductor/fxgraph/ab/KEY"),
        ("m/inductor/triton/0/HASH/kernel.json", "m/inductor/triton/0/HASH"),
        ("m/inductor/ab/cabc.so", "m/inductor/ab/cabc.so"),
        ("m/triton/lone", "m/triton/lone"),
    ],
)
def test_what_goes_together(path: str, whole: str) -> None:
    assert unit(path) == whole


@pytest.mark.parametrize(
    ("path", "finished"),
    [
        ("inductor/ab/c.so", True),
        ("inductor/locks/c.lock", False),
        ("inductor/ab/.12.34.tmp", False),
        ("triton/HASH/tmp.pid_3_x/kernel.ttir", False),
        ("triton/HASH/kernel.ttir", True),
    ],
)
def test_what_is_finished(path: str, finished: bool) -> None:
    assert is_finished(path) is finished


FILES = st.lists(
    st.builds(
        CompiledFile,
        path=st.builds(
            lambda kind, group, name: f"{MACHINE}/{kind}/{group}/{name}",
            st.sampled_from(["triton", "inductor"]),
            st.sampled_from("abcd"),
            st.sampled_from("xyz"),
        ),
        size=st.integers(0, 100),
        used=st.floats(0, 1000),
        is_link=st.booleans(),
    ),
    unique_by=lambda item: item.path,
    max_size=24,
)


@given(files=FILES, limit=st.integers(0, 1000), since=st.floats(0, 1000))
def test_the_rest_is_within_the_limit_or_in_use(
    files: list[CompiledFile], limit: int, since: float
) -> None:
    gone = set(plan(files, limit=limit, unused_since=since))
    stays = [item for item in files if unit(item.path) not in gone]
    goes = [item for item in files if unit(item.path) in gone]
    size = sum(item.size for item in stays if not item.is_link)

    assert all(item.used <= since for item in goes)
    old = [item for item in stays if item.size and not item.is_link]
    newest_of = {
        unit(item.path): max(o.used for o in files if unit(o.path) == unit(item.path))
        for item in old
    }
    assert size <= limit or all(used > since for used in newest_of.values())
    if gone:
        newest_gone = max(item.used for item in goes)
        assert all(used >= newest_gone for used in newest_of.values())
