from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from envforge.adapters.conda_registry import register, registered, registry_file, unregister
from envforge.adapters.prefixes import CondaRegistry
from envforge.errors import FileNotUsable


def test_the_list_is_condas(tmp_path: Path) -> None:
    register(tmp_path, Path("/envs/a"))
    assert (tmp_path / ".conda" / "environments.txt").read_text() == "/envs/a\n"


def test_a_prefix_is_listed_once(tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        register(tmp_path, Path("/envs", name))
    assert registered(tmp_path) == (Path("/envs/a"), Path("/envs/b"))


def test_an_unfinished_last_line_is_not_run_into(tmp_path: Path) -> None:
    registry_file(tmp_path).parent.mkdir()
    registry_file(tmp_path).write_text("/envs/a")
    register(tmp_path, Path("/envs/b"))
    assert registry_file(tmp_path).read_text() == "/envs/a\n/envs/b\n"


def test_only_the_one_goes(tmp_path: Path) -> None:
    registry = CondaRegistry(tmp_path)
    for name in ("a", "ab", "b"):
        registry.add(Path("/envs", name))
    registry.remove(Path("/envs/a"))
    registry.remove(Path("/envs/a"))
    assert registered(tmp_path) == (Path("/envs/ab"), Path("/envs/b"))


def test_nobody_has_a_list_yet(tmp_path: Path) -> None:
    assert registered(tmp_path) == ()
    unregister(tmp_path, Path("/envs/a"))
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    registry_file(tmp_path).mkdir(parents=True)
    with pytest.raises(FileNotUsable, match=r"environments\.txt"):
        registered(tmp_path)
    with pytest.raises(FileNotUsable):
        register(tmp_path, Path("/envs/a"))
    (tmp_path / "file").touch()
    with pytest.raises(FileNotUsable):
        register(tmp_path / "file", Path("/envs/a"))


def test_a_list_that_cannot_be_rewritten_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(tmp_path, Path("/envs/a"))

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(FileNotUsable, match="input/output error"):
        unregister(tmp_path, Path("/envs/a"))
    assert registered(tmp_path) == (Path("/envs/a"),)
