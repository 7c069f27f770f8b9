from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from envforge.adapters.activation import activation_scripts
from envforge.adapters.activation.activation_scripts import (
    activate,
    read_activation,
    run_environment,
)
from envforge.errors import InvalidValue, ToolFailed
from envforge.formats.activation import SHELLS, Shell


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    path = tmp_path / "envs" / "demo"
    (path / "conda-meta").mkdir(parents=True)
    state = {"env_vars": {"FROM_STATE": "1", "BOTH": "state"}}
    (path / "conda-meta" / "state").write_text(json.dumps(state))
    return path


def add(prefix: Path, place: str, text: str) -> Path:
    path = prefix / "etc" / "conda" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_shell_has_code(prefix: Path) -> None:
    assert get_args(Shell) == SHELLS
    for shell in SHELLS:
        code = activate(prefix, shell)
        assert "deactivate_envforge" in code
        assert "FROM_STATE" in code


def test_a_bare_value_in_a_template_is_a_bug(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a template that forgets to quote cannot get into a release."""
    with pytest.raises(TypeError, match="unquoted"):
        activation_scripts._only_quoted("x; reboot")


def test_state_overrides_packages(prefix: Path) -> None:
    add(prefix, "env_vars.d/b.json", '{"BOTH": "package b", "FROM_B": "2"}')
    add(prefix, "env_vars.d/a.json", '{"FROM_B": "1"}')
    assert read_activation(prefix, "bash").variables == {
        "BOTH": "state",
        "FROM_B": "2",
        "FROM_STATE": "1",
    }


def test_each_shell_gets_its_own_scripts(prefix: Path) -> None:
    one, two = (str(add(prefix, f"activate.d/{name}.sh", "")) for name in ("1", "2"))
    undo = [str(add(prefix, f"deactivate.d/{name}.sh", "")) for name in ("1", "2")]
    fish = str(add(prefix, "activate.d/1.fish", ""))

    found = read_activation(prefix, "zsh")

    assert found.scripts == (one, two)
    assert found.undo_scripts == tuple(reversed(undo))
    assert read_activation(prefix, "fish").scripts == (fish,)
    assert read_activation(prefix, "powershell").scripts == ()


def test_a_program_gets_what_activation_sets(prefix: Path) -> None:
    base = {"PATH": "/usr/bin", "PYTHONHOME": "/other", "LD_LIBRARY_PATH": "/mpi", "HOME": "/h"}
    found = run_environment(prefix, base)

    assert found["PATH"] == f"{prefix}/bin:/usr/bin"
    assert found["CONDA_PREFIX"] == str(prefix)
    assert found["FROM_STATE"] == "1"
    assert found["LD_LIBRARY_PATH"] == "/mpi"
    assert found["HOME"] == "/h"
    assert "PYTHONHOME" not in found
    assert run_environment(prefix, {})["PATH"] == f"{prefix}/bin"


def test_what_another_environment_declared_is_left_behind(prefix: Path, tmp_path: Path) -> None:
    """In a shell where that one is active, by conda, or by us."""
    other = tmp_path / "other"
    (other / "conda-meta").mkdir(parents=True)
    names = ("CLOBBERED", "NEW", "CHANGED", "BOTH")
    state = {"env_vars": dict.fromkeys(names, "other")}
    (other / "conda-meta" / "state").write_text(json.dumps(state))
    base = {
        "PATH": "/usr/bin:/bin",
        "CONDA_PREFIX": str(other),
        "CONDA_SHLVL": "2",
        **dict.fromkeys(names, "other"),
        "CHANGED": "since",
        "__CONDA_SHLVL_1_CLOBBERED": "mine",
        "HF_HUB_CACHE": "/view",
        "_ENVFORGE_SET_HF_HUB_CACHE": "/view",
        "_ENVFORGE_WAS_HF_HUB_CACHE": "/mine",
        "OMP_NUM_THREADS": "9",
        "_ENVFORGE_SET_OMP_NUM_THREADS": "1",
    }
    found = run_environment(prefix, base)

    assert found["CLOBBERED"] == "mine"
    assert found["CHANGED"] == "since"
    assert found["BOTH"] == "state"
    assert found["HF_HUB_CACHE"] == "/mine"
    assert found["OMP_NUM_THREADS"] == "9"
    assert "NEW" not in found
    assert not [name for name in found if name.startswith("_ENVFORGE_")]
    assert "NEW" in run_environment(prefix, {**base, "CONDA_PREFIX": "/none"})


def test_packages_scripts_count_for_a_program_too(prefix: Path) -> None:
    add(
        prefix,
        "activate.d/x.sh",
        "echo noise\nexport FROM_SCRIPT='a\nb'\nexport BOTH=script\nunset HOME\nOWN=1\n",
    )
    base = {"PATH": "/usr/bin:/bin", "HOME": "/h", "PWD": "/kept", "ODD": "\udcff"}

    found = run_environment(prefix, base)

    assert found["FROM_SCRIPT"] == "a\nb"
    assert found["BOTH"] == "script"
    assert found["ODD"] == "\udcff"
    assert found["PWD"] == base["PWD"]
    assert {"HOME", "OWN", "ENVFORGE_ENV", "_"} & set(found) == set()


def test_packages_scripts_are_not_run_by_what_a_user_tells_bash(
    prefix: Path, tmp_path: Path
) -> None:
    """As on clusters, where BASH_ENV names what modules need; `errexit` would end conda's own."""
    add(prefix, "activate.d/x.sh", "false\nexport DONE=$UNKNOWN.\n")
    (tmp_path / "bash_env").write_text("export FROM_BASH_ENV=1\n")
    told = {"BASH_ENV": str(tmp_path / "bash_env"), "SHELLOPTS": "errexit:nounset"}

    found = run_environment(prefix, {"PATH": "/usr/bin:/bin", **told})

    assert found["DONE"] == "."
    assert "FROM_BASH_ENV" not in found
    assert {name: found[name] for name in told} == told


def test_a_script_that_ends_the_shell_is_an_error(prefix: Path) -> None:
    add(prefix, "activate.d/x.sh", "exit 3\n")
    with pytest.raises(ToolFailed):
        run_environment(prefix, {"PATH": "/usr/bin:/bin"})


def test_names_that_no_shell_allows_are_refused(prefix: Path) -> None:
    add(prefix, "env_vars.d/bad.json", '{"A;reboot": "1"}')
    for shell in SHELLS:
        with pytest.raises(InvalidValue, match="A;reboot"):
            activate(prefix, shell)
