"""CycloneDX documents."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from fakes.exported import PLATFORMS, digest, lock, subject
from packageurl import PackageURL

from envforge.adapters.sbom import cyclonedx
from envforge.errors import InvalidValue, ToolMissing
from envforge.model.inventory import Inventory
from envforge.team import inventory


def taken() -> Inventory:
    return inventory.take(subject(), PLATFORMS)


@pytest.fixture(scope="module")
def text() -> str:
    return cyclonedx.render(taken(), {})


@pytest.fixture(scope="module")
def document(text: str) -> Any:
    return json.loads(text)


def test_it_is_valid(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_the_library_reads_it_again(document: Any) -> None:
    bom = Bom.from_json(document)  # type: ignore[attr-defined]

    assert {item.name for item in bom.components} == {item.name for item in taken().parts}


def test_the_same_environment_gives_the_same_bytes(text: str) -> None:
    """No clock and no random number."""
    assert cyclonedx.render(taken(), {}) == text
    assert "timestamp" not in text
    other = json.loads(cyclonedx.render(inventory.take(subject(models=None), PLATFORMS), {}))
    assert other["serialNumber"] != json.loads(text)["serialNumber"]


def test_a_stated_time_is_taken() -> None:
    found = json.loads(cyclonedx.render(taken(), {"SOURCE_DATE_EPOCH": "1700000000"}))

    assert found["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    with pytest.raises(InvalidValue, match="`soon` is no number of seconds"):
        cyclonedx.render(taken(), {"SOURCE_DATE_EPOCH": "soon"})


def test_package_urls(document: Any) -> None:
    urls = {item["name"]: item.get("purl") for item in document["components"]}

    six = PackageURL.from_string(urls["six"])
    assert (six.type, six.name, six.version) == ("conda", "six", "1.17.0")
    assert six.qualifiers == {
        "build": "pyhd8ed1ab_0",
        "channel": "conda-forge",
        "subdir": "noarch",
        "type": "tar.bz2",
    }
    torch = PackageURL.from_string(urls["torch"])
    assert (torch.type, torch.version) == ("pypi", "2.7.1+cu126")
    assert urls["Org/Bert-Base"] == f"pkg:huggingface/Org/Bert-Base@{'a' * 40}"
    assert urls["org/corpus"] is None


def test_hashes(document: Any) -> None:
    by_url = {item["externalReferences"][0]["url"]: item for item in document["components"]}

    for package in lock().packages:
        found = {item["alg"]: item["content"] for item in by_url[package.url]["hashes"]}
        assert found["SHA-256"] == package.sha256
        assert found.get("MD5", "") == package.md5


def test_models_hold_their_files(document: Any) -> None:
    [model] = [item for item in document["components"] if item["name"] == "Org/Bert-Base"]

    assert model["type"] == "machine-learning-model"
    assert {item["name"]: item["hashes"][0]["content"] for item in model["components"]} == {
        path: digest(path) for path in ("config.json", "sub dir/model.safetensors")
    }
    assert {item["type"] for item in document["components"]} == {
        "library",
        "machine-learning-model",
        "data",
    }


def test_ties(document: Any) -> None:
    ties = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    found = taken()

    assert sorted(ties["environment:x-torch27-cu126"]) == sorted(found.direct)
    for part in found.parts:
        assert sorted(ties[part.key]) == sorted(part.needs)


def test_what_it_is_for(document: Any) -> None:
    root = document["metadata"]["component"]

    assert root["name"] == "x-torch27-cu126"
    assert {"name": "envforge:torch", "value": "2.7.1"} in root["properties"]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("cyclonedx"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(ToolMissing, match="cyclonedx-python-lib") as caught:
        cyclonedx.render(taken(), {})
    assert caught.value.hint == "pip install 'envforge[sbom]'"
