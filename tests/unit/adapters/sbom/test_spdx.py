"""SPDX documents."""

from __future__ import annotations

import builtins
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from fakes.exported import PLATFORMS, digest, lock, subject
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from envforge.adapters.sbom import spdx
from envforge.errors import InvalidValue, ToolMissing
from envforge.model.inventory import Inventory
from envforge.team import inventory


def taken() -> Inventory:
    return inventory.take(subject(), PLATFORMS)


@pytest.fixture(scope="module")
def text() -> str:
    return spdx.render(taken(), {})


@pytest.fixture(scope="module")
def document(text: str) -> Any:
    return json.loads(text)


def test_it_is_valid() -> None:
    created = datetime(2024, 1, 1, tzinfo=timezone.utc)

    assert validate_full_spdx_document(spdx.document(taken(), created)) == []


def test_the_library_reads_it_again(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.spdx.json"
    path.write_text(text)

    read = parse_file(str(path))

    assert validate_full_spdx_document(read) == []
    assert len(read.packages) == 1 + len(taken().parts) + 3


def test_the_same_environment_gives_the_same_bytes(text: str) -> None:
    assert spdx.render(taken(), {}) == text
    other = json.loads(spdx.render(inventory.take(subject(name="z"), PLATFORMS), {}))
    assert other["documentNamespace"] != json.loads(text)["documentNamespace"]


def test_a_stated_time_is_taken(document: Any) -> None:
    assert document["creationInfo"]["created"] == "1970-01-01T00:00:00Z"
    found = json.loads(spdx.render(taken(), {"SOURCE_DATE_EPOCH": "1700000000"}))
    assert found["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    with pytest.raises(InvalidValue):
        spdx.render(taken(), {"SOURCE_DATE_EPOCH": "1e9"})


def test_packages(document: Any) -> None:
    by_address = {item["downloadLocation"]: item for item in document["packages"]}

    for package in lock().packages:
        found = by_address[package.url]
        sums = {item["algorithm"]: item["checksumValue"] for item in found["checksums"]}
        assert (found["name"], found["versionInfo"]) == (package.name, package.version)
        assert sums["SHA256"] == package.sha256
        [reference] = found["externalRefs"]
        kind = "conda" if package.manager == "conda" else "pypi"
        assert reference["referenceType"] == "purl"
        assert reference["referenceLocator"].startswith(f"pkg:{kind}/{package.name}@")


def test_relationships(document: Any) -> None:
    names = {item["SPDXID"]: item["name"] for item in document["packages"]}
    names["SPDXRef-DOCUMENT"] = "document"
    ties = {
        (
            names[item["spdxElementId"]],
            item["relationshipType"],
            names[item["relatedSpdxElement"]],
        )
        for item in document["relationships"]
    }

    assert ("document", "DESCRIBES", "x-torch27-cu126") in ties
    assert ("x-torch27-cu126", "DEPENDS_ON", "torch") in ties
    assert ("x-torch27-cu126", "CONTAINS", "six") in ties
    assert ("torch", "DEPENDS_ON", "numpy") in ties
    assert ("Org/Bert-Base", "CONTAINS", "sub dir/model.safetensors") in ties


def test_files_of_models(document: Any) -> None:
    [found] = [item for item in document["packages"] if item["name"] == "sub dir/model.safetensors"]

    assert found["primaryPackagePurpose"] == "FILE"
    assert found["checksums"] == [
        {"algorithm": "SHA256", "checksumValue": digest("sub dir/model.safetensors")}
    ]


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("spdx_tools"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(ToolMissing, match="spdx-tools"):
        spdx.render(taken(), {})
