"""Settings and engines of one `Forge`."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from fakes.installing import RecordingReporter, make_settings
from fakes.workplace import H200, FixedProbe

from envforge.adapters.conda_lock_solver import CondaLockSolver
from envforge.adapters.machine.machine_probe import LiveMachineProbe
from envforge.adapters.prefixes import RealPrefixes
from envforge.adapters.rattler_solver import RattlerSolver
from envforge.adapters.uv_resolver import UvResolver
from envforge.errors import FileNotUsable, InvalidValue
from envforge.forge import Forge
from envforge.forge.workplace import SilentReporter, Workplace, this_platform


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(settings=make_settings(tmp_path, environment={}), reporter=RecordingReporter())


def test_settings_are_read_once_from_where_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given counts before the environment, which counts before pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.envforge]\nenvs = "file"\nprefixes = "p"\nmirror = "m"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVFORGE_PREFIXES", str(tmp_path / "variable"))
    forge = Forge(overrides={"mirror": "https://given", "envs": None})

    assert forge.settings.envs_folder == tmp_path / "file"
    assert forge.settings.prefixes == tmp_path / "variable"
    assert forge.settings.mirror == "https://given"
    monkeypatch.setenv("ENVFORGE_PREFIXES", str(tmp_path / "later"))
    assert forge.settings.prefixes == tmp_path / "variable"


def test_a_folder_that_was_removed_is_no_place_to_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(FileNotUsable, match="was removed"):
        Workplace()


def test_nobody_is_told_unless_somebody_listens(tmp_path: Path) -> None:
    """As a library we print nothing."""
    silent = Workplace(settings=make_settings(tmp_path)).reporter

    assert isinstance(silent, SilentReporter)
    with silent.step("solving"):
        silent.progress(1, 2)
        silent.note("x")
        silent.warn("x")


def test_a_probe_may_be_given(tmp_path: Path, workplace: Workplace) -> None:
    probe = FixedProbe(H200)

    assert Workplace(settings=make_settings(tmp_path), probe=probe).probe is probe
    assert isinstance(workplace.probe, LiveMachineProbe)
    assert workplace.probe is workplace.live_probe


def test_engines_are_made_when_first_used_and_kept(workplace: Workplace) -> None:
    assert isinstance(workplace.solver, RattlerSolver)
    assert workplace.solver_for("rattler") is workplace.solver
    assert isinstance(workplace.wheels, UvResolver)
    assert workplace.wheels is workplace.wheels
    assert isinstance(workplace.solver_for("conda-lock"), CondaLockSolver)
    with pytest.raises(InvalidValue, match="engine `pip`"):
        workplace.solver_for("pip")


def test_trying_out_is_silent_and_does_not_wait_long(workplace: Workplace) -> None:
    """The same channels, read once; the index is asked once."""
    trying = workplace.for_trying()

    assert isinstance(trying.reporter, SilentReporter)
    assert isinstance(workplace.reporter, RecordingReporter)
    assert trying.uv.environment["UV_HTTP_RETRIES"] == "0"
    assert "UV_HTTP_RETRIES" not in workplace.uv.environment
    assert isinstance(trying.wheels, UvResolver)
    assert trying.wheels.uv is trying.uv
    assert workplace.wheels is not trying.wheels


def test_installs_are_carried_out_by_the_real_ones(workplace: Workplace) -> None:
    tools = workplace.install_tools

    assert isinstance(tools.prefixes, RealPrefixes)
    assert tools.reporter is workplace.reporter


def test_wheels_are_cached_where_uv_keeps_them(tmp_path: Path) -> None:
    def cache(**environment: str) -> Path:
        return Workplace(settings=make_settings(tmp_path, environment=environment)).wheel_cache

    assert cache() == tmp_path / "home" / ".cache" / "uv"
    assert cache(XDG_CACHE_HOME="/c") == Path("/c/uv")
    assert cache(XDG_CACHE_HOME="/c", UV_CACHE_DIR="/u") == Path("/u")


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", "linux-64"),
        ("linux", "aarch64", "linux-aarch64"),
        ("darwin", "arm64", "osx-arm64"),
        ("win32", "AMD64", "win-64"),
    ],
)
def test_platforms_in_condas_words(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)

    assert this_platform() == expected


def test_a_platform_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(InvalidValue, match="platform `darwin x86_64`") as caught:
        this_platform()

    assert "lock for one with `--platform`" in str(caught.value.hint)
