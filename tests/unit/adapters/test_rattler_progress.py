from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes.installing import conda_package

from envforge.adapters import rattler_progress
from envforge.adapters.rattler_progress import LinkProgress


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """What is said, with no pause between two reports."""
    monkeypatch.setattr(rattler_progress, "_PAUSE", 0.0)
    return []


def test_a_transaction_as_rattler_reports_it(said: list[Mapping[str, Any]]) -> None:
    """In the order and with the numbers of a real one: tokens are what `start` gave back."""
    progress = LinkProgress(said.append, [conda_package("numpy", size=4_000_000)], {})  # type: ignore[abstract]

    progress.on_transaction_start(2)
    entry = progress.on_populate_cache_start(1, "numpy")
    download = progress.on_download_start(entry)
    progress.on_download_progress(download, 1_000_000, None)
    progress.on_download_progress(download, 2_000_000, 8_000_000)
    progress.on_link_complete(progress.on_link_start(1, "numpy"))
    progress.on_transaction_operation_complete(1)
    progress.on_transaction_operation_complete(0)
    progress.on_transaction_complete()

    assert [(item["done"], item["detail"]) for item in said] == [
        (0, ""),
        (0, "numpy 1.0 of 4.0 MB"),
        (0, "numpy 2.0 of 8.0 MB"),
        (1, "numpy"),
        (2, ""),
        (2, ""),
    ]
    assert {item["total"] for item in said} == {2}
    assert progress.linked == ["numpy"]


def test_a_download_of_unknown_size(said: list[Mapping[str, Any]]) -> None:
    progress = LinkProgress(said.append, [], {})  # type: ignore[abstract]
    progress.on_download_progress(progress.on_populate_cache_start(0, "x"), 500_000, None)
    assert said[-1]["detail"] == "x 0.5 MB"


def test_reports_are_not_a_flood() -> None:
    said: list[Mapping[str, Any]] = []
    progress = LinkProgress(said.append, [], {})  # type: ignore[abstract]
    progress.on_transaction_start(1)
    for number in range(1000):
        progress.on_download_progress(0, number, 1000)
    progress.on_transaction_complete()
    assert len(said) < 20
    assert said[-1]["total"] == 1


def test_scripts_that_fail_are_kept() -> None:
    progress = LinkProgress(lambda _: None, [], {})  # type: ignore[abstract]
    good = progress.on_post_link_start("good", "bin/.good-post-link.sh")
    bad = progress.on_post_link_start("bad", "bin/.bad-post-link.sh")
    progress.on_post_link_complete(bad, success=False)
    progress.on_post_link_complete(good, success=True)
    assert progress.failed_scripts == ["bad"]


def test_silence_is_told_only_while_something_comes_over_the_network() -> None:
    progress = LinkProgress(lambda _: None, [], {"numpy": "numpy-1-0.conda"})  # type: ignore[abstract]
    assert progress.silent_download(0.0) is None
    progress.on_populate_cache_start(1, "from-a-file")
    assert progress.silent_download(0.0) is None
    progress.on_populate_cache_start(2, "numpy")
    assert progress.silent_download(0.0) == "numpy-1-0.conda"
    assert progress.silent_download(60.0) is None
    progress.on_populate_cache_complete(2)
    assert progress.silent_download(0.0) is None
