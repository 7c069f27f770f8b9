"""What packages beside torch say they were built for."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.adapters.prefix.companion_files import read_companions


def put(site: Path, path: str, text: str) -> None:
    target = site / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_a_folder_without_any(tmp_path: Path) -> None:
    found = read_companions(tmp_path)

    assert found.builds == ()
    assert found.bitsandbytes is None
    assert found.unreadable == ()


@pytest.mark.parametrize(
    ("text", "cuda", "is_cpu"),
    [
        ("__version__ = '0.15.2+cu118'\ncuda = '11.8'\n", "11.8", False),
        ('__version__ = "0.15.2"\ncuda: Optional[str] = "12.1"\n', "12.1", False),
        ("__version__ = '2.7.1+cu126'\n", "12.6", False),
        ("__version__ = '0.15.2+cpu'\ncuda = None\n", None, True),
    ],
)
def test_a_version_file(tmp_path: Path, text: str, cuda: str | None, *, is_cpu: bool) -> None:
    put(tmp_path, "torchvision/version.py", text)

    [build] = read_companions(tmp_path).builds

    assert (build.package, build.cuda, build.is_cpu) == ("torchvision", cuda, is_cpu)


def test_a_version_file_that_says_nothing(tmp_path: Path) -> None:
    """conda-forge's names neither CUDA nor CPU."""
    put(tmp_path, "torchvision/version.py", "__version__ = '0.22.1'\ngit_version = 'x'\n")

    assert read_companions(tmp_path).builds == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 3}', "{}"])
def test_a_broken_library_description(tmp_path: Path, text: str) -> None:
    put(tmp_path, "xformers/cpp_lib.json", text)

    found = read_companions(tmp_path)

    assert found.builds == ()
    assert found.unreadable == ("xformers/cpp_lib.json",)


@pytest.mark.parametrize(
    ("table", "check"),
    [
        ("deps = {", 'pkgs_to_check_at_runtime = ["numpy"]'),
        ("deps = dict(a=1)", 'pkgs_to_check_at_runtime = ["numpy"]'),
        ('deps = {"numpy": name}', 'pkgs_to_check_at_runtime = ["numpy"]'),
        ('deps = {"numpy": "numpy>=1"}', "nothing"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, table: str, check: str) -> None:
    put(tmp_path, "transformers/dependency_versions_table.py", table)
    put(tmp_path, "transformers/dependency_versions_check.py", check)

    found = read_companions(tmp_path)

    assert found.checked_at_import == ()
    assert found.unreadable == ("transformers/dependency_versions_table.py",)


def test_the_older_spelling_of_the_table(tmp_path: Path) -> None:
    """transformers 4.0 wrote the names as one string."""
    put(tmp_path, "transformers/dependency_versions_table.py", 'deps = {"tqdm": "tqdm>=4.27"}')
    check = 'pkgs_to_check_at_runtime = "python tqdm regex".split()'
    put(tmp_path, "transformers/dependency_versions_check.py", check)

    assert read_companions(tmp_path).checked_at_import == (("transformers", "tqdm>=4.27"),)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "version.py").write_bytes(b"\xff\xfe\x00")

    assert read_companions(tmp_path).unreadable == ("torchaudio/version.py",)
