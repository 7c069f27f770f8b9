"""What git's names were found to stand for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from envforge.adapters.hub.known_names import KnownNames
from envforge.errors import FileNotUsable

SHA1, SHA256 = "1" * 40, "2" * 64


def test_remembered_across_processes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "names.txt"
    names = KnownNames(path)

    assert names.get(SHA1) is None
    names.add([(SHA1, SHA256)])

    assert names.get(SHA1) == SHA256
    assert KnownNames(path).get(SHA1) == SHA256


def test_nothing_learnt_writes_nothing(tmp_path: Path) -> None:
    KnownNames(tmp_path / "names.txt").add([])

    assert list(tmp_path.iterdir()) == []


def test_half_a_line_is_no_name(tmp_path: Path) -> None:
    """After a power cut; the next line begins on a line of its own."""
    path = tmp_path / "names.txt"
    path.write_text(f"{'3' * 40} {'4' * 64}\n{SHA1} {SHA256[:30]}")

    names = KnownNames(path)
    assert names.get(SHA1) is None
    names.add([(SHA1, SHA256)])

    assert names.get(SHA1) == SHA256
    assert names.get("3" * 40) == "4" * 64


def test_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"

    def add(first: int) -> None:
        names = KnownNames(path)
        for number in range(first, first + 20):
            names.add([(f"{number:040x}", f"{number:064x}")])

    threads = [threading.Thread(target=add, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    names = KnownNames(path)
    assert all(names.get(f"{100 * n + m:040x}") for n in range(4) for m in range(20))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "names.txt").mkdir()

    with pytest.raises(FileNotUsable):
        KnownNames(tmp_path / "names.txt").add([(SHA1, SHA256)])
