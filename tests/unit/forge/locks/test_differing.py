"""`diff`: two locks, wherever they are."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.conda_solver import package
from fakes.locks import lock
from fakes.workplace import NAME, fake_forge, make_environment, workplace_of

from envforge.errors import InvalidFile, InvalidValue, NoSuchEnvironment
from envforge.forge import Forge
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.lock import Lock, LockedPackage

OLD = lock(package("numpy", "1.26.4"), package("python", "3.10.14", depends=("numpy",)))
NEW = lock(package("numpy", "2.0.1"), package("python", "3.10.14", depends=("numpy",)))


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


def put(path: Path, found: Lock) -> str:
    path.write_text(conda_lock_yml.write(found))
    return str(path)


def test_two_files(forge: Forge, tmp_path: Path) -> None:
    found = forge.diff(put(tmp_path / "a.yml", OLD), put(tmp_path / "b.yml", NEW))
    assert [(item.name, item.before, item.after) for item in found.moves] == [
        ("numpy", "1.26.4", "2.0.1")
    ]
    assert not found.is_same
    assert found.platforms == ("linux-64",)


def test_a_lock_and_itself(forge: Forge, tmp_path: Path) -> None:
    path = put(tmp_path / "a.yml", OLD)
    found = forge.diff(path, path)
    assert found.is_same
    assert found.notes == ()


def test_an_environment_has_direct_dependencies_and_a_gpu_build(
    forge: Forge, tmp_path: Path
) -> None:
    folder = make_environment(forge)
    other = put(tmp_path / "a.yml", replace(OLD, packages=OLD.packages[1:]))
    found = forge.diff(NAME, other)
    facts = {row.fact: (row.before, row.after) for row in found.gpu}
    assert facts["torch"] == ("2.7.1", "")
    assert facts["CUDA"] == ("12.6", "")
    assert {item.name for item in found.asked} >= {"pytorch"}
    assert forge.diff(str(folder), NAME).is_same


def test_standard_input(forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(conda_lock_yml.write(OLD)))
    assert len(forge.diff("-", put(tmp_path / "b.yml", NEW)).moves) == 1


def test_what_is_installed(forge: Forge) -> None:
    """Only this platform is compared, and hashes that nobody recorded say nothing."""
    make_environment(forge)
    forge.install(NAME)
    found = forge.diff(NAME, f"installed:{NAME}")
    assert found.is_same, found.moves
    assert found.gained_platforms is None


def test_platforms_that_came_and_went(forge: Forge, tmp_path: Path) -> None:
    more = lock(*OLD.packages, package("numpy", "1.26.4", platform="win-64"))
    one, two = put(tmp_path / "a.yml", OLD), put(tmp_path / "b.yml", more)
    found = forge.diff(one, two)
    assert (found.gained_platforms, found.lost_platforms) == ({"win-64": 1}, {})
    assert not found.is_same
    assert forge.diff(two, one).lost_platforms == {"win-64": 1}


def test_no_platform_in_common(forge: Forge, tmp_path: Path) -> None:
    other = put(tmp_path / "b.yml", lock(package("a", "1", platform="win-64")))
    with pytest.raises(InvalidValue, match="none in common"):
        forge.diff(put(tmp_path / "a.yml", OLD), other)


def test_one_of_several_environments_in_a_file(forge: Forge, tmp_path: Path) -> None:
    digest = "a" * 64
    path = tmp_path / "pixi.lock"
    url = "https://conda.anaconda.org/conda-forge/linux-64/numpy-2.0.1-h0_0.conda"
    entry = f"""
      - conda: {url}"""
    path.write_text(
        f"""version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64: []
  gpu:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:{entry}
packages:
- conda: {url}
  sha256: {digest}
  md5: {"b" * 32}
"""
    )
    found = forge.diff(put(tmp_path / "a.yml", OLD), f"{path}#gpu")
    assert ("numpy", "upgraded") in {(item.name, item.kind) for item in found.moves}
    with pytest.raises(InvalidValue, match="nope"):
        forge.diff(str(tmp_path / "a.yml"), f"{path}#nope")


def test_a_file_that_pins_nothing(forge: Forge) -> None:
    folder = make_environment(forge)
    with pytest.raises(InvalidFile, match="pins nothing"):
        forge.diff(NAME, str(folder / "environment.yml"))


def test_no_such_side(forge: Forge, tmp_path: Path) -> None:
    with pytest.raises(NoSuchEnvironment):
        forge.diff("nope", put(tmp_path / "a.yml", OLD))


def test_models_are_compared_too(forge: Forge, tmp_path: Path) -> None:
    folder = make_environment(forge)
    text = f"""version: 1
models:
  - repo: org/name
    commit: {"9a" * 20}
    files:
      - path: config.json
        size: 5
        sha256: {"a" * 64}
"""
    (folder / "models-lock.yml").write_text(text)
    other = tmp_path / "other"
    other.mkdir()
    (other / "conda-lock.yml").write_text((folder / "conda-lock.yml").read_text())
    found = forge.diff(str(other / "conda-lock.yml"), NAME)
    assert [change.after for change in found.models] == ["9a" * 20]
    assert not found.is_same


def test_other_channels_and_other_inputs_are_noted(forge: Forge, tmp_path: Path) -> None:
    one = put(tmp_path / "a.yml", replace(OLD, inputs_digest="a" * 64))
    two = put(
        tmp_path / "b.yml", replace(OLD, inputs_digest="b" * 64, channels=("nvidia", "conda-forge"))
    )
    found = forge.diff(one, two)
    assert found.is_same
    assert found.notes == (
        "channels: conda-forge, now nvidia, conda-forge",
        "the packages are the same, and what they were locked from is not",
    )


def test_packages_that_are_described_otherwise(forge: Forge, tmp_path: Path) -> None:
    noted = replace(OLD, packages=tuple(replace(item, size=3) for item in OLD.packages))
    found = forge.diff(put(tmp_path / "a.yml", OLD), put(tmp_path / "b.yml", noted))
    assert found.is_same
    assert found.notes == ("2 packages are the same, and described otherwise",)


def test_sizes_are_measured_where_a_package_lies_unpacked(forge: Forge, tmp_path: Path) -> None:
    sized = [replace(item, size=100) for item in NEW.packages]
    _unpack(workplace_of(forge).settings.package_cache, sized[0], 7)
    new = put(tmp_path / "b.yml", replace(NEW, packages=tuple(sized)))
    [row] = forge.diff(put(tmp_path / "a.yml", OLD), new).sizes
    assert (row.download[0].unknown, row.download[1].total) == (2, 200)
    assert row.disk[1].total == 7 + 530
    assert row.disk[1].estimated == 1


def _unpack(cache: Path, item: LockedPackage, size: int) -> None:
    """As rattler leaves a package: unpacked, and beside it the hash of its archive."""
    info = cache / f"{item.name}-{item.version}-{item.build}" / "info"
    info.mkdir(parents=True)
    (info / "index.json").write_text("{}")
    (info / "paths.json").write_text(f'{{"paths": [{{"_path": "a", "size_in_bytes": {size}}}]}}')
    held = bytes(8) + bytes.fromhex(item.sha256)
    info.parent.with_name(f"{info.parent.name}.lock").write_bytes(held)
