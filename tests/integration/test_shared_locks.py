"""Locks as other people published them, where a copy of them lies beside the project.

What we read of each is held against a plain reading by ruamel.yaml (or line by line), which knows
nothing of our readers, and of pixi.lock also against rattler's own reader.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from packaging.utils import canonicalize_name

from envforge.errors import InvalidFile
from envforge.forge import Forge
from envforge.forge.locks.importing import read_text
from envforge.model.imported import Imported
from envforge.model.lock import LockedPackage

LOCKS = Path(os.environ.get("ENVFORGE_TEST_LOCKS", Path(__file__).parents[3] / "shared" / "locks"))
CONDA_LOCKS = (
    "clay-torch2.1.2-cuda120.conda-lock.yml",
    "nlp-research-template-torch2.0.1-cu118.conda-lock.yml",
)
EXPLICIT = (
    "nlp-research-template-torch1.13.0-cu117.explicit.lock",
    "pangeo-torch2.7.1-cuda126.explicit.lock",
)
PIXI = (
    "nerfstudio-torch2.2.2-cu118.v4.pixi.lock",
    "pixi-sample-many-cuda.v5.pixi.lock",
    "nvidia-gpu-ml-library-test-torch2.7.1.v6.pixi.lock",
    "lenskit-codex-torch2.12-cuda130.v7.pixi.lock",
)
Row = tuple[str, str, str, str, str, str, str]
"""Platform, name, manager, version, address, sha256, md5."""


@pytest.fixture(scope="module", autouse=True)
def _locks() -> None:
    if not LOCKS.is_dir():
        pytest.skip(f"no locks at {LOCKS}")


@cache
def text_of(name: str) -> str:
    return (LOCKS / name).read_text(encoding="utf-8")


def imported(name: str) -> Imported:
    return read_text(text_of(name), name)


@cache
def plain(name: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(text_of(name))


def rows(packages: tuple[LockedPackage, ...]) -> list[Row]:
    return sorted(
        (item.platform, item.name, item.manager, item.version, item.url, item.sha256, item.md5)
        for item in packages
    )


def test_every_file_there_is_looked_at() -> None:
    known = {*CONDA_LOCKS, *EXPLICIT, *PIXI}

    assert {path.name for path in LOCKS.iterdir()} - {"README.md"} == known


@pytest.mark.parametrize("name", CONDA_LOCKS)
def test_a_conda_lock_yml_is_what_yaml_says(name: str) -> None:
    document = plain(name)
    expected = [
        (
            item["platform"],
            item["name"],
            item["manager"],
            str(item["version"]),
            item["url"],
            item["hash"].get("sha256") or "",
            item["hash"].get("md5") or "",
        )
        for item in document["package"]
        if item.get("category", "main") in {"main", "dev"}
    ]
    lock = imported(name).choose().lock

    assert lock is not None
    assert rows(lock.packages) == sorted(expected)
    assert list(lock.platforms) == document["metadata"]["platforms"]
    depends = {
        (item["platform"], item["name"]): {
            f"{key} {value}".strip() for key, value in item["dependencies"].items()
        }
        for item in document["package"]
    }
    assert all(set(item.depends) == depends[item.platform, item.name] for item in lock.packages)


@pytest.mark.parametrize("name", EXPLICIT)
def test_an_explicit_list_is_what_its_lines_say(name: str) -> None:
    lines = [line for line in text_of(name).splitlines() if line.startswith("https://")]
    expected = []
    for line in lines:
        url, _, md5 = line.partition("#")
        stem = re.sub(r"\.(conda|tar\.bz2)$", "", url.rpartition("/")[2])
        package, version, _ = stem.rsplit("-", 2)
        expected.append(("linux-64", package, "conda", version, url, "", md5))
    for line in text_of(name).splitlines():  # conda-lock puts wheels into comments
        if line.startswith("# pip "):
            package, url, digest = re.split(r" @ |#sha256=", line.removeprefix("# pip "))
            version = re.sub(r"\.tar\.gz$", "", url.rpartition("/")[2]).split("-")[1]
            expected.append(("linux-64", package, "pip", version, url, digest, ""))
    lock = imported(name).choose().lock

    assert lock is not None
    assert rows(lock.packages) == sorted(expected)


@pytest.mark.parametrize("name", PIXI)
def test_a_pixi_lock_is_what_yaml_says(name: str) -> None:
    document, found = plain(name), imported(name)

    assert [item.name for item in found.environments] == list(document["environments"])
    for environment in found.environments:
        assert environment.lock is not None
        assert rows(environment.lock.packages) == sorted(pixi_rows(document, environment.name))
        channels = document["environments"][environment.name]["channels"]
        assert environment.channels == tuple(item["url"].rstrip("/") for item in channels)


def pixi_rows(document: Any, environment: str) -> Iterator[Row]:
    """Straight from the tree, without our reader."""
    records = {}
    for item in document["packages"]:
        place = item.get("conda") or item.get("pypi") or item.get("url") or item["path"]
        records[place] = item
    for platform, listed in document["environments"][environment]["packages"].items():
        for item in listed:
            [(kind, place)] = item.items()
            record = records[place]
            name, version = by_address(kind, place)
            name = record.get("name", name)
            yield (
                platform,
                name if kind == "conda" else canonicalize_name(name),
                "conda" if kind == "conda" else "pip",
                str(record.get("version", version)),
                place,
                record.get("sha256", ""),
                record.get("md5", ""),
            )


def by_address(kind: str, place: str) -> tuple[str, str]:
    file = unquote(place.rpartition("/")[2])
    if kind == "conda":
        name, version, _ = re.sub(r"\.(conda|tar\.bz2)$", "", file).rsplit("-", 2)
        return name, version
    parts = file.split("-")
    return parts[0], parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("name", PIXI)
def test_a_pixi_lock_is_what_rattler_reads(name: str) -> None:
    """Its names and addresses; versions it normalises (`2025.06.26` becomes `2025.6.26`)."""
    import rattler

    found = imported(name)
    for title, environment in rattler.LockFile.from_path(str(LOCKS / name)).environments():
        lock = found.choose(title).lock
        assert lock is not None
        for platform in environment.platforms():
            theirs = {item.location for item in environment.packages(platform)}
            assert {item.url for item in lock.for_platform(str(platform))} == theirs


@pytest.mark.parametrize("name", [*CONDA_LOCKS, *EXPLICIT, *PIXI])
def test_a_damaged_copy_gives_line_and_reason(name: str) -> None:
    """A hash that lost its end, and a file that lost its end in the middle of a line."""
    text = text_of(name)
    # What hash algorithm a line names differs; its last occurrence is in a package in each file.
    found = list(re.finditer(r"(?:sha256: |md5: |#)([0-9a-f]{32,64})\n", text))[-1]
    broken = text[: found.end(1) - 3] + text[found.end(1) :]
    line = text.count("\n", 0, found.start(1)) + 1
    with pytest.raises(InvalidFile) as caught:
        read_text(broken, name)
    assert f"line {line}" in str(caught.value) or f"line {line - 1}" in str(caught.value)

    with pytest.raises(InvalidFile):
        read_text(text[: found.start(1) + 5], name)


ADOPTED = (
    (PIXI[3], None, "lenskit-codex-torch212-cu130"),
    (PIXI[2], "gpu", "nvidia-gpu-ml-library-test-torch27-cu129"),
    (PIXI[1], "py310cu121", "pixi-sample-many-cuda-py310cu121-torch23-cu121"),
)


@pytest.mark.parametrize(("file", "environment", "name"), ADOPTED)
def test_an_adopted_lock_stays_what_it_was(
    file: str, environment: str | None, name: str, shared_channels: Path, tmp_path: Path
) -> None:
    """From the metadata of the real channels; nothing moves that need not."""
    forge = Forge(overrides={"envs": tmp_path / "envs", "mirror": str(shared_channels)})
    result = forge.adopt(str(LOCKS / file), environment=environment)

    assert result.name == name
    assert result.lock is not None
    assert result.changed == ()
    assert result.same >= 0.99 * result.before
    assert forge.show(name).stale == ()


@pytest.mark.parametrize(
    ("file", "name", "cudnn"),
    [
        (CONDA_LOCKS[0], "clay-torch21-cu120", "8.9.7.29"),
        (CONDA_LOCKS[1], "nlp-research-template-torch20-cu118", "8.7.0"),
        (EXPLICIT[0], "nlp-research-template-torch113-cu117", "8.5.0"),
        (EXPLICIT[1], "pangeo-torch27-cu126", "9.13.0.50"),
        (PIXI[0], "nerfstudio-torch22-cu118", "8.7.0"),
    ],
)
def test_torch_cuda_and_cudnn_are_found_in_every_format(
    file: str, name: str, cudnn: str, tmp_path: Path
) -> None:
    forge = Forge(overrides={"envs": tmp_path / "envs", "offline": True})
    result = forge.adopt(str(LOCKS / file), lock=False, dry_run=True)

    assert (result.name, result.found_cudnn) == (name, cudnn)
