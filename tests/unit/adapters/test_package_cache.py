from __future__ import annotations

from pathlib import Path

from fakes.installing import conda_package

from envforge.adapters import package_cache

PACKAGE = conda_package("numpy")


def fill(cache: Path, sha256: str = PACKAGE.sha256) -> None:
    info = cache / "numpy-1.0-0" / "info"
    info.mkdir(parents=True)
    (info / "index.json").write_text("{}")
    (cache / "numpy-1.0-0.lock").write_bytes(bytes(7) + b"\1" + bytes.fromhex(sha256))


def test_an_empty_cache_has_nothing(tmp_path: Path) -> None:
    assert package_cache.not_cached(tmp_path / "none", [PACKAGE]) == (PACKAGE,)
    assert package_cache.unpacked(tmp_path, PACKAGE, measure=True) == (None, None)


def test_the_same_archive_is_cached(tmp_path: Path) -> None:
    fill(tmp_path)
    assert package_cache.is_cached(tmp_path, PACKAGE)
    assert package_cache.not_cached(tmp_path, [PACKAGE]) == ()


def test_another_archive_of_that_name_is_not(tmp_path: Path) -> None:
    fill(tmp_path, "0" * 64)
    assert not package_cache.is_cached(tmp_path, PACKAGE)


def test_a_package_that_was_only_begun_is_not(tmp_path: Path) -> None:
    fill(tmp_path)
    package_cache.index_json(tmp_path, PACKAGE).unlink()
    assert not package_cache.is_cached(tmp_path, PACKAGE)


def test_what_a_cached_package_holds(tmp_path: Path) -> None:
    fill(tmp_path)
    paths = '{"paths": [{"_path": "a", "size_in_bytes": 5}, {"_path": "b","size_in_bytes":70}]}'
    (tmp_path / "numpy-1.0-0" / "info" / "paths.json").write_text(paths)
    assert package_cache.unpacked(tmp_path, PACKAGE, measure=True) == (75, 2)
    assert package_cache.unpacked(tmp_path, PACKAGE, measure=False) == (None, 2)


def test_a_package_whose_files_changed_is_damaged_and_can_be_dropped(tmp_path: Path) -> None:
    fill(tmp_path)
    folder = tmp_path / "numpy-1.0-0"
    listed = (
        '{"paths": [{"_path": "a", "path_type": "hardlink", "size_in_bytes": 5},'
        ' {"_path": "b", "path_type": "softlink", "size_in_bytes": 70}]}'
    )
    assert package_cache.is_damaged(tmp_path, PACKAGE)  # it has no list at all
    (folder / "info" / "paths.json").write_text(listed)
    (folder / "a").write_text("whole")
    (folder / "b").symlink_to("a")
    assert not package_cache.is_damaged(tmp_path, PACKAGE)
    (folder / "a").write_text("edited")
    assert package_cache.is_damaged(tmp_path, PACKAGE)

    package_cache.drop(tmp_path, PACKAGE)
    assert not package_cache.is_cached(tmp_path, PACKAGE)
