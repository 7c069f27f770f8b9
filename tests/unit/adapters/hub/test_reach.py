"""Which hub, and whether it may be asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import make_settings

from envforge.adapters.hub import reach
from envforge.errors import InvalidValue, Unreachable


def test_the_public_hub_unless_another_is_named(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, environment={})

    assert reach.endpoint(settings) == "https://huggingface.co"
    named = replace(settings, environment={"HF_ENDPOINT": "http://hub.example/"})
    assert reach.endpoint(named) == "http://hub.example"


@pytest.mark.parametrize(
    ("offline", "environment", "reason"),
    [
        (True, {}, "--offline"),
        (False, {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE=1"),
        (False, {"HF_HUB_OFFLINE": "yes"}, "HF_HUB_OFFLINE=yes"),
        (False, {"TRANSFORMERS_OFFLINE": "true"}, "TRANSFORMERS_OFFLINE=true"),
    ],
)
def test_offline(tmp_path: Path, offline: bool, environment: dict[str, str], reason: str) -> None:
    settings = make_settings(tmp_path, offline=offline, environment=environment)

    with pytest.raises(Unreachable) as caught:
        reach.check(settings)
    assert f"we are offline (`{reason}`)" in str(caught.value)


@pytest.mark.parametrize("value", ["", "0", "no"])
def test_online(tmp_path: Path, value: str) -> None:
    settings = make_settings(tmp_path, environment={"HF_HUB_OFFLINE": value})

    reach.check(settings)
    assert reach.why_offline(settings) == ""


def test_credentials_are_not_shown(tmp_path: Path) -> None:
    named = {"HF_ENDPOINT": "https://user:secret@hub.example"}
    settings = make_settings(tmp_path, offline=True, environment=named)

    assert "secret" in reach.endpoint(settings)
    with pytest.raises(Unreachable) as caught:
        reach.check(settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["nonsense", "hub.example", "ftp://x", "http://", "http://[", "http://a b", "https:/x"]
)
def test_an_address_that_is_none(tmp_path: Path, value: str) -> None:
    settings = make_settings(tmp_path, environment={"HF_ENDPOINT": value})

    with pytest.raises(InvalidValue, match="is no address of a hub") as caught:
        reach.endpoint(settings)
    assert "https://huggingface.co" in str(caught.value.hint)


@pytest.mark.parametrize(
    "value", ["http://hub:8080", "http://[::1]:80", "https://a.b/hf/mirror", "http://127.0.0.1"]
)
def test_addresses(tmp_path: Path, value: str) -> None:
    settings = make_settings(tmp_path, environment={"HF_ENDPOINT": f"{value}/"})

    assert reach.endpoint(settings) == reach.shown(settings) == value
