"""The generated channel of the benchmarks: equal bytes from a seed, and fit for a solver."""

from __future__ import annotations

import asyncio
import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pytest
from bench import world
from fakes.channel_server import serve

RECORDS = {"arch_records": 3000, "noarch_records": 1000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("world")
    world.write(world.make_world(7, **RECORDS), made, ("linux-64",), repodata=True)
    return made


def repodata(folder: Path, subdir: str) -> dict[str, dict[str, dict[str, object]]]:
    path = folder / "conda-forge" / subdir / "repodata.json"
    read: dict[str, dict[str, dict[str, object]]] = json.loads(path.read_text(encoding="utf-8"))
    return read


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_seed_gives_equal_bytes(folder: Path, tmp_path: Path) -> None:
    """Two machines measure the same work; another seed is another world."""
    world.write(world.make_world(7, **RECORDS), tmp_path / "again", ("linux-64",), repodata=True)
    world.write(world.make_world(8, **RECORDS), tmp_path / "other", ("linux-64",), repodata=True)
    assert digests(tmp_path / "again") == digests(folder)
    assert digests(tmp_path / "other") != digests(folder)


@pytest.mark.parametrize(("subdir", "records"), [("linux-64", 3000), ("noarch", 1000)])
def test_as_many_records_as_asked_for_sorted_by_file_name(
    folder: Path, subdir: str, records: int
) -> None:
    """The last project may add a few. micromamba is slow where names are out of order."""
    read = repodata(folder, subdir)
    files = [*read["packages"], *read["packages.conda"]]
    assert records <= len(files) < records * 1.2
    for kind in ("packages", "packages.conda"):
        assert all(before < after for before, after in pairwise(read[kind]))


def test_shards_hold_what_repodata_holds(folder: Path) -> None:
    """Each shard lies under the hash of its bytes, and all together are the channel (CEP 16)."""
    import msgpack
    import zstandard

    def unpacked(path: Path) -> dict[str, dict[str, object]]:
        data = zstandard.ZstdDecompressor().decompress(path.read_bytes())
        read: dict[str, dict[str, object]] = msgpack.unpackb(data)
        return read

    subdir = folder / "conda-forge" / "linux-64"
    index = unpacked(subdir / "repodata_shards.msgpack.zst")
    found: dict[str, object] = {}
    for name, digest in index["shards"].items():
        assert isinstance(digest, bytes)
        path = subdir / "shards" / f"{digest.hex()}.msgpack.zst"
        assert hashlib.sha256(path.read_bytes()).digest() == digest
        shard = unpacked(path)
        records = {**shard["packages"], **shard["packages.conda"]}
        assert {record["name"] for record in records.values()} == {name}  # type: ignore[index]
        found |= records
    read = repodata(folder, "linux-64")
    assert found.keys() == {*read["packages"], *read["packages.conda"]}


def test_it_can_be_solved_from_its_shards(folder: Path, tmp_path: Path) -> None:
    """The request that lies beside it, torch for its CUDA included, has a solution."""
    from rattler import Gateway, GenericVirtualPackage, MatchSpec, PackageName, Version, solve
    from rattler.package import BuildString

    asked = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    specs = [
        f"python={asked['python']}",
        f"pytorch[version='=={asked['torch']}',build='*cuda{asked['cuda'].replace('.', '')}*']",
        f"cuda-version={asked['cuda']}",
        *asked["packages"],
    ]
    cuda = GenericVirtualPackage(PackageName("__cuda"), Version(asked["cuda"]), BuildString("0"))
    with serve(folder) as server:
        records = asyncio.run(
            solve(
                sources=[f"{server.url}/conda-forge"],
                specs=[MatchSpec(spec) for spec in specs],
                gateway=Gateway(cache_dir=tmp_path),
                platforms=["linux-64", "noarch"],
                virtual_packages=[cuda],
            )
        )
        assert not server.count("repodata.json.zst")
    assert 12 <= len(asked["packages"]) <= world.REQUEST
    assert {record.name.normalized for record in records} > {"libtorch", *asked["packages"]}
