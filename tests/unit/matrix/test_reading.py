"""The tables are well-formed, sorted, without doubles, and every reference leads somewhere."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from envforge.matrix import Matrix, load, versions
from envforge.matrix.reading import DATA, read, rows
from envforge.model.cuda import ComputeCapability
from envforge.model.machine import CUDA_PLATFORMS, PLATFORMS
from envforge.model.spec import SOURCES

TABLES = sorted(path.name for path in DATA.glob("*.tsv"))


def test_all_tables_are_here() -> None:
    assert TABLES == [
        "architectures.tsv",
        "bad_pairs.tsv",
        "boards.tsv",
        "builds.tsv",
        "forward_compat.tsv",
        "library_floors.tsv",
        "partners.tsv",
        "releases.tsv",
        "sources.tsv",
        "toolkits.tsv",
    ]


def test_it_is_read_once() -> None:
    assert load() is load()


@pytest.mark.parametrize("name", [name for name in TABLES if name != "sources.tsv"])
def test_every_row_names_sources_that_are_known(name: str, matrix: Matrix) -> None:
    for row in rows(DATA / name):
        named = (row.get("sources") if name != "bad_pairs.tsv" else row["references"]) or ""
        assert named.split(), row
        assert set(named.split()) <= set(matrix.references), row


def test_every_source_is_used_and_has_a_title(matrix: Matrix) -> None:
    code_reads = {"nv_blackwell", "nv_mvc", "torch_cuda_init"}  # named in docstrings, not in rows
    used = {
        source
        for name in TABLES
        if name != "sources.tsv"
        for row in rows(DATA / name)
        for source in (row["references"] if name == "bad_pairs.tsv" else row["sources"]).split()
    }
    assert set(matrix.references) == used | code_reads
    for reference in matrix.references.values():
        assert reference.title
        assert reference.url is None or reference.url.startswith("https://")


def test_releases_are_sorted_and_complete(matrix: Matrix) -> None:
    torches = [release.torch for release in matrix.releases]
    assert torches[0] == "1.8.0"
    assert torches[-1] == "2.15.0"
    assert torches == sorted(set(torches), key=versions.key)
    dates = [release.date for release in matrix.releases if release.torch.endswith(".0")]
    assert dates == sorted(dates)
    for release in matrix.releases:
        assert versions.key(release.python_min) <= versions.key(release.python_max)
        assert {"torchvision", "torchaudio"} <= set(release.partners)
        assert set(release.unrecorded) <= set(SOURCES)
        assert matrix.release(release.torch) is release
    assert matrix.release("2.0.5") is None
    assert matrix.of("2.0.5") == ()


def test_builds_are_sorted_without_doubles_and_sound(matrix: Matrix) -> None:
    keys = [
        (
            versions.key(build.torch),
            SOURCES.index(build.source),
            PLATFORMS.index(build.platform),
            (build.cuda.major, build.cuda.minor) if build.cuda else (0, 0),
        )
        for build in matrix.builds
    ]
    assert keys == sorted(set(keys))
    for build in matrix.builds:
        assert matrix.release(build.torch), build
        assert build.pythons == tuple(sorted(set(build.pythons), key=versions.key)), build
        assert build.pythons, build
        assert (build.label is not None) is (build.source == "wheels"), build
        if build.cuda is None:
            assert not build.architectures
            assert build.metapackage is None
            assert build.cudnn is None
            continue
        assert build.platform in CUDA_PLATFORMS, build
        assert matrix.toolkit(build.cuda), build
        assert (build.metapackage is None) is (build.source == "wheels"), build
        assert build.label in {None, build.cuda.label}, build
        for item in build.architectures:
            ComputeCapability.parse(item.removesuffix("+PTX"))


def test_every_release_has_a_cpu_build_and_linux_wheels(matrix: Matrix) -> None:
    for release in matrix.releases:
        assert any(
            build.cuda is None and build.source == "wheels" and build.platform == "linux-64"
            for build in matrix.of(release.torch)
        ), release.torch


def test_at_most_one_wheel_of_a_platform_is_the_registry_default(matrix: Matrix) -> None:
    for release, platform in itertools.product(matrix.releases, PLATFORMS):
        defaults = [
            build
            for build in matrix.of(release.torch)
            if build.default and build.platform == platform
        ]
        assert len(defaults) <= 1, (release.torch, platform)


def test_the_pytorch_channel_ends_and_the_metapackage_changes(matrix: Matrix) -> None:
    channel = [build for build in matrix.builds if build.source == "pytorch"]
    assert max((build.torch for build in channel), key=versions.key) == "2.5.1"
    for build in channel:
        if build.cuda:
            new = versions.matches(build.torch, ">=1.13")
            assert build.metapackage == ("pytorch-cuda" if new else "cudatoolkit")


def test_conda_forge_never_built_some(matrix: Matrix) -> None:
    without = {"1.8.1", "2.0.1", "2.1.1", "2.2.0", "2.2.1", "2.2.2", "2.5.0", "2.9.0"}
    unknown = {"2.14.0", "2.14.1", "2.15.0"}
    carried = {build.torch for build in matrix.builds if build.source == "conda-forge"}
    assert {release.torch for release in matrix.releases} - carried == without | unknown
    assert {row.torch for row in matrix.releases if "conda-forge" in row.unrecorded} == unknown


def test_toolkits_and_architectures_are_sorted_and_fit(matrix: Matrix) -> None:
    cudas = [toolkit.cuda for toolkit in matrix.toolkits]
    assert cudas == sorted(set(cudas))
    capabilities = [row.capability for row in matrix.architectures]
    assert capabilities == sorted(set(capabilities))
    for toolkit in matrix.toolkits:
        assert toolkit.releases, toolkit
        assert toolkit.releases[0].version.startswith(str(toolkit.cuda)), toolkit
        assert toolkit.minor_version is (toolkit.cuda.major >= 11)
    for board in matrix.boards:
        assert matrix.architecture(board.capability), board
    assert len({board.name for board in matrix.boards}) == len(matrix.boards)


def test_constraints_have_a_package_a_range_and_a_documented_defect(matrix: Matrix) -> None:
    for pair in matrix.bad_pairs:
        if pair.effect == "constraint":
            assert pair.package, pair.name
            assert pair.range, pair.name
            assert any(name.startswith("gh:") for name in pair.references), pair.name
        assert pair.effect in {"constraint", "avoid", "note", "record"}, pair.name
        assert pair.text, pair.name
        assert pair.fix, pair.name
        assert set(pair.sources) <= set(SOURCES), pair.name
        assert set(pair.platforms) <= set(PLATFORMS), pair.name
        versions.matches("2.0.0", pair.torch)


def test_companions(matrix: Matrix) -> None:
    cuda = matrix.cudas[0]
    wheels = matrix.companions("2.0.0", "wheels", cuda)
    assert wheels["torchvision"] == "0.15.1"
    assert wheels["triton"] == "2.0.0"
    channel = matrix.companions("2.0.0", "pytorch", None)
    assert channel == {"torchvision": "0.15.0", "torchaudio": "2.0.0", "torchtext": "0.15.0"}
    assert matrix.companions("2.10.0", "conda-forge", cuda) == {}
    assert matrix.companions("2.0.5", "wheels", cuda) == {}
    assert "torchtext" not in matrix.companions("2.4.0", "wheels", cuda)


def test_a_row_of_another_width_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("# about\na\tb\n1\t2\n3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"x\.tsv:4: 1 cells, and the header has 2"):
        list(rows(path))


def test_a_number_that_must_be_known_is(tmp_path: Path) -> None:
    for name in TABLES:
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    table = tmp_path / "boards.tsv"
    table.write_text(table.read_text(encoding="utf-8") + "X1\t-\t\tnv_gpus\n", encoding="utf-8")
    with pytest.raises(ValueError, match="a number is needed"):
        read(tmp_path)


def test_unknown_is_told_from_none() -> None:
    builds = list(rows(DATA / "builds.tsv"))
    assert any(row["nccl"] == "" for row in builds)
    assert all(row["nccl"] == "-" for row in builds if row["cuda"] == "cpu")
    assert all(row["glibc"] == "-" for row in builds if not row["platform"].startswith("linux"))
