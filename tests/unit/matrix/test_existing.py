"""Which sources carry what."""

from __future__ import annotations

from envforge.matrix import Matrix, sources_for
from envforge.matrix.existing import cells, cudas_of
from envforge.model.cuda import CudaVersion

CU118, CU121, CU129 = CudaVersion(11, 8), CudaVersion(12, 1), CudaVersion(12, 9)


def test_sources_for(matrix: Matrix) -> None:
    assert sources_for("2.0.1", CU118, matrix) == ("pytorch", "wheels")
    assert sources_for("2.1.0", CU118, matrix) == ("pytorch", "conda-forge", "wheels")
    assert sources_for("2.1.0", CU118, matrix, python="3.12") == ("conda-forge",)
    assert sources_for("2.0.1", CU121, matrix) == ()
    assert sources_for("2.0.1", None, matrix, platform="osx-arm64") == ("pytorch", "wheels")
    assert sources_for("2.0.1", CU118, matrix, platform="linux-aarch64") == ()
    assert sources_for("9.9.9", None, matrix) == ()


def test_a_cell_has_a_build_for_each_platform_and_their_common_pythons(matrix: Matrix) -> None:
    both = ("win-64", "linux-64")
    [cell] = cells("2.5.1", None, matrix, platforms=both, sources=("wheels",))
    assert {build.platform for build in cell.builds} == set(both)
    assert cell.primary.platform == "linux-64"
    assert "3.13" not in cell.pythons  # experimental then, on Linux only
    assert "3.13" in cell.primary.pythons
    assert not list(
        cells("2.5.1", None, matrix, platforms=both, sources=("wheels",), python="3.13")
    )


def test_a_source_must_have_all_platforms(matrix: Matrix) -> None:
    one = cells("2.10.0", CU129, matrix, platforms=("linux-64", "linux-aarch64"))
    assert [cell.source for cell in one] == ["conda-forge"]
    assert not list(cells("2.10.0", CU129, matrix, platforms=("linux-64", "win-64")))


def test_cudas_of(matrix: Matrix) -> None:
    assert [str(cuda) for cuda in cudas_of(matrix.of("2.0.1"))] == ["11.7", "11.8"]
