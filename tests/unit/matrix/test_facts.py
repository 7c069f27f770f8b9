"""Our tables say what the facts they were derived from say."""

from __future__ import annotations

from typing import Any

from envforge.matrix import Matrix
from envforge.matrix.tables import Build


def _sorted(architectures: list[str] | None) -> set[str]:
    return set(architectures or ())


def _one(matrix: Matrix, torch: str, source: str, platform: str, cuda: str | None) -> Build:
    [found] = [
        build
        for build in matrix.of(torch)
        if build.source == source
        and build.platform == platform
        and (str(build.cuda) if build.cuda else None) == cuda
    ]
    return found


def test_releases(matrix: Matrix, facts: dict[str, Any]) -> None:
    assert [row["version"] for row in facts["torch_releases"]] == [
        release.torch for release in matrix.releases
    ]
    for row in facts["torch_releases"]:
        release = matrix.release(row["version"])
        assert release is not None
        assert (release.date, release.python_min, release.python_max) == (
            row["date"],
            row["python"]["min"],
            row["python"]["max"],
        )
        for name in ("torchvision", "torchaudio", "torchtext", "triton"):
            assert release.partners.get(name) == row[name], (row["version"], name)


def test_builds_of_the_pytorch_channel(matrix: Matrix, facts: dict[str, Any]) -> None:
    count = 0
    for row in facts["torch_releases"]:
        for variant in row["distributions"]["pytorch"]["variants"]:
            build = _one(matrix, row["version"], "pytorch", "linux-64", variant["cuda"])
            assert list(build.pythons) == variant["pythons"]
            assert build.cudnn == variant["cudnn"]
            assert build.nccl == variant["nccl"]
            assert set(build.architectures) == _sorted(variant["gpu_archs"])
            if build.cuda:
                assert build.metapackage == row["distributions"]["pytorch"]["metapackage"]
            count += 1
    ours = [
        build
        for build in matrix.builds
        if build.source == "pytorch" and build.platform == "linux-64"
    ]
    assert len(ours) == count


def test_builds_of_conda_forge(matrix: Matrix, facts: dict[str, Any]) -> None:
    count = 0
    for row in facts["torch_releases"]:
        for variant in row["distributions"]["conda-forge"]["variants"]:
            build = _one(
                matrix, row["version"], "conda-forge", variant["platform"], variant["cuda"]
            )
            assert list(build.pythons) == variant["pythons"]
            assert build.cudnn == variant["cudnn_pin"]
            assert set(build.architectures) == _sorted(variant["gpu_archs"])
            assert build.glibc == variant["min_glibc"]
            count += 1
    ours = [
        build
        for build in matrix.builds
        if build.source == "conda-forge" and build.platform != "osx-arm64"
    ]
    assert len(ours) == count


def test_wheels(matrix: Matrix, facts: dict[str, Any]) -> None:
    count = 0
    for row in facts["torch_releases"]:
        for variant in row["distributions"]["wheels"]["variants"]:
            build = _one(matrix, row["version"], "wheels", "linux-64", variant["cuda"])
            assert build.label == variant["index"]
            assert build.cudnn == variant["cudnn"]
            assert build.nccl == variant["nccl"]
            assert build.toolkit == variant["cuda_full"]
            assert set(build.architectures) == _sorted(variant["gpu_archs_x86_64"])
            assert build.default is bool(variant["registry_default"])
            if variant["gpu_archs_aarch64"]:
                arm = _one(matrix, row["version"], "wheels", "linux-aarch64", variant["cuda"])
                assert set(arm.architectures) == _sorted(variant["gpu_archs_aarch64"])
            count += 1
    ours = [
        build
        for build in matrix.builds
        if build.source == "wheels" and build.platform == "linux-64" and build.cuda
    ]
    assert len(ours) == count


def test_toolkits(matrix: Matrix, facts: dict[str, Any]) -> None:
    assert len(matrix.toolkits) == len(facts["cuda_toolkits"])
    for toolkit, row in zip(matrix.toolkits, facts["cuda_toolkits"], strict=True):
        assert str(toolkit.cuda) == row["cuda"]
        assert toolkit.min_driver_linux == row["minor_version_compat_min_driver_linux"]
        if row["minor_version_compat_min_driver_windows"]:  # else uv's, where it has one
            assert toolkit.min_driver_windows == row["minor_version_compat_min_driver_windows"]
        assert toolkit.minor_version is row["minor_version_compatibility"]
        assert toolkit.max_gcc == row["max_gcc_major"]
        bounds = (toolkit.arch_min, toolkit.arch_max)
        assert [str(bound) if bound else None for bound in bounds] == [
            row["gpu_arch_min"],
            row["gpu_arch_max"],
        ]
        assert [(item.driver_linux, item.driver_windows) for item in toolkit.releases] == [
            (item["driver_linux"], item["driver_windows"]) for item in row["releases"]
        ]


def test_the_drivers_that_uv_asks_for(matrix: Matrix, facts: dict[str, Any]) -> None:
    """uv lists the same minimum; for CUDA 11.0 the older driver of its first release."""
    from envforge.matrix import drivers
    from envforge.model.machine import Driver

    by_label = {toolkit.cuda.label: toolkit.cuda for toolkit in matrix.toolkits}
    for row in facts["driver_backend_table_uv"]:
        if row["backend"] not in by_label:
            continue
        cuda = by_label[row["backend"]]
        for system, platform in (("linux", "linux-64"), ("windows", "win-64")):
            driver = Driver(version=row[f"min_driver_{system}"])
            if row["backend"] == "cu110":
                continue
            assert drivers.support(driver, cuda, matrix, platform) != "none", row


def test_architectures_and_known_bad_pairs(matrix: Matrix, facts: dict[str, Any]) -> None:
    for architecture, row in zip(matrix.architectures, facts["gpu_architectures"], strict=True):
        assert str(architecture.capability) == row["compute_capability"]
        assert architecture.family == row["family"]
        assert architecture.integrated == row["integrated"]
        for ours, theirs in (
            (architecture.first_toolkit, row["first_toolkit"]),
            (architecture.last_toolkit, row["last_toolkit"]),
        ):
            assert (str(ours) if ours else None) == theirs
    known = {row["id"]: row for row in facts["broken_combinations"]}
    ours_by_name = {pair.name: pair for pair in matrix.bad_pairs}
    assert set(known) <= set(ours_by_name)
    for name, row in known.items():
        assert list(ours_by_name[name].references) == row["sources"]
