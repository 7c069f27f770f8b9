"""What `pack` and `unpack` ask of the library, and what they say."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from fakes.command_line import Run

from envforge.cli.rendering import render_pack
from envforge.forge import Forge
from envforge.model.pack import Packed, PackedEnvironment, PackIndex, PackMember, Unpacked

NAME = "p-torch27-cu126"
INDEX = PackIndex(
    platform="linux-64",
    environments=(
        PackedEnvironment(name=NAME, files=("environment.yml", "conda-lock.yml"), models=True),
    ),
    members=(
        PackMember(name="tool.tar", kind="tool", sha256="9" * 64, size=100),
        PackMember(name="packages/linux-64/a.conda", kind="package", sha256="a" * 64, size=2000),
        PackMember(name="packages/linux-64/b.conda", kind="package", sha256="b" * 64, size=3000),
        PackMember(name="wheels/c.whl", kind="wheel", sha256="c" * 64, size=10),
        PackMember(name=f"models/{'d' * 64}", kind="model", sha256="d" * 64, size=7_000_000),
    ),
)
PACKED = Packed(
    path="/x/my pack.tar",
    index=INDEX,
    sha256="e" * 64,
    size=7_010_000,
    resumed=2,
    seconds=1.25,
    notes=("it rains",),
)
UNPACKED = Unpacked(
    path="p.tar",
    index=INDEX,
    read=7_005_010,
    packages=1,
    wheels=1,
    models=1,
    folders=(f"envs/{NAME}",),
    views=("/s/views/env/p",),
    seconds=2.0,
)


@pytest.fixture
def asked(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the library is called with; it answers with the values above."""
    seen: dict[str, Any] = {}

    def pack(envs: tuple[str, ...], output: Any, **how: Any) -> Packed:
        seen.update(envs=envs, output=output, **how)
        if not isinstance(output, Path):
            output.write(b"archive")
            return replace(PACKED, path="")
        return replace(PACKED, dry_run=how["dry_run"])

    def unpack(source: Any, **how: Any) -> Unpacked:
        seen.update(source=source, **how)
        return replace(UNPACKED, dry_run=how["dry_run"])

    monkeypatch.setattr(forge, "pack", pack)
    monkeypatch.setattr(forge, "unpack", unpack)
    return seen


def test_pack_tells_what_there_is_and_how_it_is_used(run: Run, asked: Mapping[str, Any]) -> None:
    done = run("pack", NAME, "q", "-o", "p.tar", "--models")

    assert done.status == 0
    assert done.out.splitlines() == [
        "packed /x/my pack.tar (7.0 MB, 1.2 s; 2 files kept)",
        "  2 packages (5.0 kB), 1 wheel (10 B), 1 model file (7.0 MB) for linux-64",
        f"  {NAME} with its models",
        f"  sha256 {'e' * 64}",
        "  note: it rains",
        "there: envforge unpack 'my pack.tar'",
        "or:    tar -xf 'my pack.tar' bootstrap.sh && sh bootstrap.sh 'my pack.tar'",
    ]
    assert asked == {
        "envs": (NAME, "q"),
        "output": Path("p.tar"),
        "platform": None,
        "models": True,
        "bootstrap": True,
        "receipt": None,
        "dry_run": False,
    }


def test_pack_to_standard_output_says_the_rest_on_standard_error(
    run: Run, asked: Mapping[str, Any]
) -> None:
    done = run("pack", NAME, "-o", "-", "--no-bootstrap", "--platform", "linux-aarch64")

    assert done.out == "archive"
    assert done.err.startswith("packed standard output")
    assert not isinstance(asked["output"], Path)
    assert (asked["platform"], asked["bootstrap"]) == ("linux-aarch64", False)


def test_a_dry_run_says_would(run: Run, asked: Mapping[str, Any]) -> None:
    done = run("pack", NAME, "-o", "p.tar", "--dry-run")

    assert done.out.startswith("would pack 2 packages")


def test_pack_as_data(run: Run, asked: Mapping[str, Any]) -> None:
    document = run("pack", NAME, "-o", "p.tar", "--receipt", "r.json", "--json").json

    assert document["schema"] == "envforge.pack/1"
    assert document["files"]["package"] == {"count": 2, "bytes": 5000}
    assert document["environments"] == [
        {"name": NAME, "files": ["environment.yml", "conda-lock.yml"], "models": True}
    ]
    assert (document["bootstrap"], document["resumed_files"]) == (True, 2)
    assert asked["receipt"] == Path("r.json")


def test_unpack_tells_what_came_and_what_is_next(run: Run, asked: Mapping[str, Any]) -> None:
    done = run("unpack", "p.tar", "--force", "--no-models", "--receipt", "r.json")

    assert done.out.splitlines() == [
        "unpacked p.tar: 7.0 MB verified (2.0 s)",
        "  3 of 4 files were new",
        f"  folder envs/{NAME}",
        "  view   /s/views/env/p",
        f"next: envforge install --offline --locked {NAME}",
    ]
    assert (asked["source"], asked["force"], asked["models"]) == (Path("p.tar"), True, False)
    assert asked["receipt"] == Path("r.json")


def test_unpack_reads_standard_input(run: Run, asked: Mapping[str, Any]) -> None:
    run("unpack", "-", stdin="bytes")

    assert isinstance(asked["source"], io.IOBase)


def test_unpack_as_data_and_dry(run: Run, asked: Mapping[str, Any]) -> None:
    document = run("unpack", "p.tar", "--json").json
    assert document["new"] == {"packages": 1, "wheels": 1, "models": 1}
    assert document["verified_bytes"] == 7_005_010
    assert run("unpack", "p.tar", "--dry-run").out.splitlines() == [
        "verified p.tar: 2 packages (5.0 kB), 1 wheel (10 B), 1 model file (7.0 MB) for linux-64",
        f"  {NAME} with its models",
    ]


def test_nothing_to_pack_is_a_slip(run: Run) -> None:
    assert run("pack", "-o", "p.tar").status == 2
    assert run("pack", NAME).status == 2


def test_what_came_through_a_pipe_has_no_path() -> None:
    text = render_pack.packed_text(replace(PACKED, path="", resumed=0))
    lines = click.unstyle(text).splitlines()

    assert lines[0] == "packed standard output (7.0 MB, 1.2 s)"
    assert not [line for line in lines if "unpack" in line]
    assert json.loads(render_pack.packed_json(replace(PACKED, path="")))["path"] is None
