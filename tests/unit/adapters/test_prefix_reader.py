from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters import prefix_reader
from envforge.adapters.prefix_reader import read_prefix, read_record, read_state
from envforge.errors import BrokenPrefix, FileNotUsable, InvalidFile
from envforge.formats.conda.conda_meta import MARKER, render_marker
from envforge.model.prefix import InstallRecord, PrefixState

SITE = "lib/python3.11/site-packages"


def marker(prefix: Path, *, complete: bool, **facts: Any) -> None:
    record = InstallRecord(digest="d", complete=complete, environment="demo", **facts)
    meta = prefix / "conda-meta"
    meta.mkdir(parents=True, exist_ok=True)
    (meta / MARKER).write_text(render_marker(record))


def conda(prefix: Path, name: str, version: str = "1.0", **facts: Any) -> Path:
    """A package record; `files` (path to text) are put into the prefix as well."""
    files: dict[str, str] = facts.pop("files", {})
    for path, text in files.items():
        (prefix / path).parent.mkdir(parents=True, exist_ok=True)
        (prefix / path).write_text(text)
    paths = [
        {"_path": path, "path_type": "hardlink", "size_in_bytes": len(text)}
        for path, text in files.items()
    ]
    record = {
        "name": name,
        "version": version,
        "build": "0",
        "paths_data": {"paths": paths, "paths_version": 1},
        **facts,
    }
    path = prefix / "conda-meta" / f"{name}-{version}-0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2, sort_keys=True))
    return path


def wheel(prefix: Path, name: str = "Torch", version: str = "2.1") -> Path:
    module = prefix / SITE / name.lower() / "__init__.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text("x = 1\n")
    folder = prefix / SITE / f"{name.lower()}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n\nText\n")
    (folder / "RECORD").write_text(
        f"{name.lower()}/__init__.py,sha256=x,6\n{folder.name}/RECORD,,\n"
        f"{name.lower()}/__pycache__/__init__.cpython-311.pyc,,\n../../../bin/{name},,\n"
    )
    (prefix / "bin").mkdir(exist_ok=True)
    (prefix / "bin" / name).write_text("#!python\n")
    return folder


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A whole environment: Python, and one wheel."""
    path = tmp_path / "env"
    conda(path, "python", "3.11.7", files={"bin/python3.11": "elf"})
    wheel(path)
    marker(path, complete=True, wheels={"torch": "f" * 64})
    return path


def test_what_does_not_exist_is_absent(tmp_path: Path) -> None:
    assert read_prefix(tmp_path / "none").state is PrefixState.ABSENT
    (tmp_path / "empty").mkdir()
    assert read_state(tmp_path / "empty") is PrefixState.ABSENT


def test_a_lock_file_alone_is_no_environment(tmp_path: Path) -> None:
    """What a process leaves that was killed before its first change."""
    meta = tmp_path / "conda-meta"
    meta.mkdir()
    (meta / prefix_reader.LOCK_NAME).touch()
    assert read_state(tmp_path) is PrefixState.ABSENT


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BrokenPrefix, match="no directory"):
        read_prefix(tmp_path / "file")


def test_a_folder_of_something_else_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BrokenPrefix, match="not empty, and no environment") as caught:
        read_prefix(tmp_path)
    assert caught.value.hint


def test_an_environment_of_conda_is_foreign(tmp_path: Path) -> None:
    conda(tmp_path, "python", "3.11.7")
    assert read_prefix(tmp_path).state is PrefixState.FOREIGN
    only_history = tmp_path / "other"
    (only_history / "conda-meta").mkdir(parents=True)
    (only_history / "conda-meta" / "history").touch()
    assert read_state(only_history) is PrefixState.FOREIGN


def test_packages_of_both_kinds(prefix: Path) -> None:
    contents = read_prefix(prefix)

    assert contents.state is PrefixState.INSTALLED
    assert [(item.name, item.manager, item.version) for item in contents.packages] == [
        ("python", "conda", "3.11.7"),
        ("torch", "pip", "2.1"),
    ]
    assert contents.packages[1].sha256 == "f" * 64
    assert contents.damaged == frozenset()


def test_what_conda_brought_is_no_wheel(prefix: Path) -> None:
    """A conda package's own dist-info is that package, whatever Python calls it."""
    folder = wheel(prefix, "tqdm", "4.0")
    metadata = str((folder / "METADATA").relative_to(prefix))
    conda(prefix, "tqdm-conda", "4.0", files={metadata: "Name: tqdm\nVersion: 4.0\n"})

    names = [item.name for item in read_prefix(prefix).packages]

    assert names == ["python", "torch", "tqdm-conda"]


def test_without_python_there_are_no_wheels(tmp_path: Path) -> None:
    conda(tmp_path, "zlib")
    marker(tmp_path, complete=True)
    assert [item.name for item in read_prefix(tmp_path).packages] == ["zlib"]
    assert prefix_reader.site_packages(tmp_path) is None
    assert prefix_reader.wheel_modules(tmp_path, frozenset({"torch"})) == ()


def test_free_threaded_pythons_keep_packages_elsewhere(tmp_path: Path) -> None:
    given = "lib/python3.13t/site-packages"
    conda(tmp_path, "python", "3.13.1", python_site_packages_path=given)
    assert prefix_reader.site_packages(tmp_path) == tmp_path / given


def test_a_broken_record_of_a_foreign_environment_is_an_error(prefix: Path) -> None:
    (prefix / "conda-meta" / "cut-1-0.json").write_text('{"name": "cu')
    (prefix / "conda-meta" / MARKER).unlink()
    with pytest.raises(InvalidFile, match="cut-1-0"):
        read_prefix(prefix)
    assert read_state(prefix) is PrefixState.FOREIGN


@pytest.mark.parametrize("complete", [True, False])
def test_in_an_environment_of_ours_a_cut_record_is_a_package_that_is_not_there(
    prefix: Path, complete: bool
) -> None:
    cut = prefix / "conda-meta" / "cut-1-0.json"
    cut.write_text('{"name": "cu')
    marker(prefix, complete=complete)

    contents = read_prefix(prefix)

    assert (contents.state is PrefixState.INSTALLED) == complete
    assert [item.name for item in contents.packages] == ["python", "torch"]
    assert prefix_reader.unreadable_records(prefix) == (cut,)


@pytest.mark.parametrize(
    ("harm", "names"),
    [
        (lambda prefix: None, set()),
        (lambda prefix: (prefix / "bin/python3.11").unlink(), {"python"}),
        (lambda prefix: (prefix / "bin/python3.11").write_text("cut"), set()),
        (lambda prefix: (prefix / "bin/python3.11").write_text("longer"), {"python"}),
        (lambda prefix: (prefix / SITE / "torch/__init__.py").unlink(), {"torch"}),
        (lambda prefix: (prefix / SITE / "torch/__init__.py").write_text("x"), {"torch"}),
        (lambda prefix: (prefix / "bin/Torch").unlink(), {"torch"}),
        (lambda prefix: (prefix / SITE / "torch-2.1.dist-info/RECORD").unlink(), {"torch"}),
    ],
)
@pytest.mark.parametrize("complete", [True, False])
def test_an_environment_of_ours_is_looked_at_file_by_file(
    prefix: Path, harm: Any, names: set[str], complete: bool
) -> None:
    marker(prefix, complete=complete)
    harm(prefix)
    assert {item.name for item in read_prefix(prefix).damaged} == names


def test_a_dist_info_without_its_texts_goes_by_its_folder(prefix: Path) -> None:
    folder = prefix / SITE / "torch-2.1.dist-info"
    (folder / "METADATA").write_text("cut")
    assert prefix_reader.leftover_dist_infos(prefix) == ()
    (folder / "METADATA").unlink()

    assert [item.version for item in read_prefix(prefix).packages] == ["3.11.7", "2.1"]
    assert prefix_reader.leftover_dist_infos(prefix) == (folder,)


def test_the_marker_alone(prefix: Path, tmp_path: Path) -> None:
    record = read_record(prefix)
    assert record is not None
    assert record.environment == "demo"
    assert read_record(tmp_path / "none") is None
    (tmp_path / "file").write_text("x")
    assert read_record(tmp_path / "file") is None


def test_modules_to_compile(prefix: Path) -> None:
    """Those of noarch packages and of wheels: others bring their own."""
    conda(prefix, "greeter", noarch="python", files={f"{SITE}/greeter.py": "x", "share/x": ""})
    conda(prefix, "compiled", files={f"{SITE}/compiled.py": "x"})

    assert prefix_reader.noarch_modules(prefix, frozenset({"greeter", "compiled"})) == (
        f"{SITE}/greeter.py",
    )
    assert prefix_reader.wheel_modules(prefix, frozenset({"torch"})) == (
        f"{SITE}/torch/__init__.py",
    )
    assert prefix_reader.wheel_modules(prefix, frozenset({"other"})) == ()


def test_a_prefix_that_may_not_be_read(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(FileNotUsable, match="permission denied"):
        read_prefix(prefix)
    with pytest.raises(FileNotUsable):
        read_state(prefix)
    assert read_record(prefix) is None


def test_half_a_conda_package_is_a_leftover_and_what_pip_installed_is_not(prefix: Path) -> None:
    by_pip, half, older = (wheel(prefix, name) for name in ("mine", "half", "tqdm"))
    (by_pip / "INSTALLER").write_text("pip\n")
    (half / "INSTALLER").write_text("conda\n")
    newer = wheel(prefix, "Tqdm", "5.0") / "METADATA"
    conda(prefix, "tqdm", "5.0", files={str(newer.relative_to(prefix)): newer.read_text()})

    assert prefix_reader.leftover_dist_infos(prefix) == (half, older)


def test_a_copy_that_a_conda_package_carries_hides_no_wheel(prefix: Path) -> None:
    """setuptools has one of `packaging`; its own dist-info is another, and whole."""
    copy = f"{SITE}/setuptools/_vendor/torch-2.1.dist-info/METADATA"
    conda(prefix, "setuptools", "75.0", files={copy: "Name: torch\nVersion: 2.1\n"})

    assert [item.name for item in read_prefix(prefix).packages if item.manager == "pip"] == [
        "torch"
    ]
    assert prefix_reader.leftover_dist_infos(prefix) == ()


def test_a_record_that_is_damaged_in_the_middle_is_a_damaged_package(prefix: Path) -> None:
    """Its first and last lines are as they should be, so it is read, and its list is not."""
    record = conda(prefix, "half", files={"lib/half": "x"})
    record.write_text(record.read_text().replace('"paths": [', '"paths": ['.ljust(40, "\0")))

    assert {item.name for item in read_prefix(prefix).damaged} == {"half"}
