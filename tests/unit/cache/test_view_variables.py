from __future__ import annotations

import pytest

from envforge.cache.view_variables import needs_flat, release, variables


def test_old_and_new_clients_are_told() -> None:
    assert variables("/v") == {
        "HF_HUB_CACHE": "/v",
        "HUGGINGFACE_HUB_CACHE": "/v",
        "TRANSFORMERS_CACHE": "/v",
    }


@pytest.mark.parametrize(
    ("version", "cache"),
    [("4.18.0", "/v.flat"), ("4.21", "/v.flat"), ("4.22", "/v"), ("4.57.1", "/v"), ("5.0.0", None)],
)
def test_transformers_decides(version: str, cache: str | None) -> None:
    """5.0 dropped its own variable, 4.22 its own cache."""
    found = variables("/v", flat="/v.flat", transformers=release(version))

    assert found.get("TRANSFORMERS_CACHE") == cache
    assert found["HF_HUB_CACHE"] == "/v"


def test_without_a_flat_view_the_hubs_is_named() -> None:
    assert variables("/v", transformers=(4, 18))["TRANSFORMERS_CACHE"] == "/v"


def test_offline_is_said_to_both() -> None:
    found = variables("/v", offline=True)

    assert found["HF_HUB_OFFLINE"] == found["TRANSFORMERS_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in variables("/v")
    assert "HF_HOME" not in found


def test_versions() -> None:
    assert release("4.18.0") == (4, 18)
    assert release("5") == (5,)
    assert release("main") == release("") == ()
    assert not needs_flat(())
    assert needs_flat((3, 5))
    assert not needs_flat((4, 22))
