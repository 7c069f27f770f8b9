"""Hugging Face's variables: where they lead, and how they are set by mistake."""

from __future__ import annotations

import pytest
from fakes.disk import hub_cache, place

from envforge.cache.hub_variables import hub_cache as where
from envforge.cache.hub_variables import misuses
from envforge.model.finding import Finding

STORE = "/srv/models"


def found(variables: dict[str, str], **hub: object) -> list[Finding]:
    return list(misuses(variables, store=STORE, hub=hub_cache(**hub)))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("/home/ada/.cache/huggingface/hub", "HOME")),
        ({"XDG_CACHE_HOME": "/x"}, ("/x/huggingface/hub", "XDG_CACHE_HOME")),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, ("/h/hub", "HF_HOME")),
        ({"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/o"}, ("/o", "HUGGINGFACE_HUB_CACHE")),
        ({"HUGGINGFACE_HUB_CACHE": "/o", "HF_HUB_CACHE": "/c"}, ("/c", "HF_HUB_CACHE")),
    ],
)
def test_the_cache_is_where_clients_look(
    variables: dict[str, str], expected: tuple[str, str]
) -> None:
    assert where(variables, "/home/ada") == expected


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HF_HOME": "/data/huggingface"},
        {"HF_HUB_CACHE": f"{STORE}/views/env/ada/e", "HF_HOME": "/data/x/hub"},
        {"HF_HUB_CACHE": "/c", "HUGGINGFACE_HUB_CACHE": "/c/", "TRANSFORMERS_CACHE": "/c"},
        {"HF_HUB_CACHE": "/v", "HUGGINGFACE_HUB_CACHE": "/v", "TRANSFORMERS_CACHE": "/v.flat"},
        {"HF_HUB_CACHE": "~/models"},
        {"HF_HUB_DISABLE_SYMLINKS": "0"},
    ],
)
def test_what_is_set_well_is_not_mentioned(variables: dict[str, str]) -> None:
    assert found(variables) == []


@pytest.mark.parametrize(
    ("variables", "message", "remedy"),
    [
        ({"HF_HOME": "/data/hub/"}, "look in /data/hub/hub", "export HF_HOME=/data"),
        (
            {"HF_HUB_CACHE": "/a", "TRANSFORMERS_CACHE": "/b"},
            "download twice",
            "export TRANSFORMERS_CACHE=/a",
        ),
        (
            {"TRANSFORMERS_CACHE": "/b"},
            "transformers 5",
            "export HF_HUB_CACHE=/b HUGGINGFACE_HUB_CACHE=/b",
        ),
        ({"HF_HUB_CACHE": "models"}, "every working directory", '"$PWD/models"'),
        ({"HF_HUB_CACHE": STORE}, "the store itself", "envforge cache view"),
        ({"HF_HOME": f"{STORE}/ab"}, "the store itself", "envforge cache view"),
        ({"HF_HUB_DISABLE_SYMLINKS": "true"}, "copies every file", "unset"),
    ],
)
def test_a_misuse_is_named(variables: dict[str, str], message: str, remedy: str) -> None:
    [finding] = found(variables)

    assert message in finding.message
    assert remedy in finding.remedy


def test_a_cache_that_cannot_be_written() -> None:
    shared = place("/shared/hub", owner=0, writable=False)

    [finding] = found({"HF_HUB_CACHE": "/shared/hub"}, place=shared, named_by="HF_HUB_CACHE")

    assert "cannot be written by you" in finding.message
    assert finding.remedy.startswith("unset HF_HUB_CACHE")


def test_the_default_place_is_nobodys_mistake() -> None:
    assert found({}, place=place(writable=False)) == []
