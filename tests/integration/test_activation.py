"""Activation in real shells: what is set arrives byte for byte, and goes again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envforge.adapters.activation.activation_scripts import activate, run_environment
from envforge.formats.activation import Shell

HOSTILE = {
    "PLAIN": "plain",
    "EMPTY": "",
    "QUOTES": """it's "so" `id` \\ \\' end\\""",
    "EXPANSIONS": "$(id) ${HOME} $HOME %PATH% !! ~ * ? [a] {b,c} #x; & | < >",
    "SEVERAL_LINES": "one\ntwo\n\nfour",
    "SPACES": "  a  b\t ",
    "UNICODE": "\u2018ä\u2019 \u201a☃\u201b",
    "LIKE_OPTIONS": "-n -e --",
}
PRINT_ALL = "import json, os; print(json.dumps(dict(os.environ)))"
SHELLS: dict[str, tuple[list[str], Shell]] = {
    "bash": (["bash", "--norc", "--noprofile", "-c"], "bash"),
    "bash -eu": (["bash", "--norc", "--noprofile", "-euc"], "bash"),
    "dash": (["dash", "-c"], "bash"),
    "zsh": (["zsh", "-f", "-c"], "zsh"),
    "zsh -eu": (["zsh", "-f", "-euc"], "zsh"),
    "fish": (["fish", "--no-config", "-c"], "fish"),
    "pwsh": (["pwsh", "-NoProfile", "-NonInteractive", "-Command"], "powershell"),
}
SHOW = {
    "bash": f"'{sys.executable}' -I -c '{PRINT_ALL}'",
    "zsh": f"'{sys.executable}' -I -c '{PRINT_ALL}'",
    "fish": f"'{sys.executable}' -I -c '{PRINT_ALL}'",
    "powershell": f"& '{sys.executable}' -I -c '{PRINT_ALL}'",
}
SET_OWN = {"bash": "export OWN=1", "zsh": "export OWN=1", "fish": "set -gx OWN 1"}


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> tuple[list[str], Shell]:
    command, kind = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return command, kind


@pytest.fixture(params=["plain", 'it\'s a $(id) `x` "dir" \\ ä'])
def prefix(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An environment with hostile variables and with scripts, in a place with a hostile name."""
    path = tmp_path / request.param / "envs" / "demo"
    (path / "conda-meta").mkdir(parents=True)
    (path / "conda-meta" / "state").write_text(json.dumps({"env_vars": HOSTILE}))
    (path / "bin").mkdir()
    for place, text in {
        "activate.d/1.sh": "export SCRIPTED=$CONDA_PREFIX\n",
        "deactivate.d/1.sh": "unset SCRIPTED\nexport UNDONE=$CONDA_PREFIX\n",
        "activate.d/1.fish": "set -gx SCRIPTED $CONDA_PREFIX\n",
        "deactivate.d/1.fish": "set -e SCRIPTED\nset -gx UNDONE $CONDA_PREFIX\n",
        "activate.d/1.ps1": "$env:SCRIPTED = $env:CONDA_PREFIX\n",
        "deactivate.d/1.ps1": "$env:SCRIPTED = $null\n$env:UNDONE = $env:CONDA_PREFIX\n",
    }.items():
        script = path / "etc" / "conda" / place
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
    return path


BASE = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/",
    "PLAIN": "mine",
    "PYTHONHOME": "/other",
    "CONDA_PREFIX": "/base",
    "LC_ALL": "C.UTF-8",
}


def seen(shell: tuple[list[str], Shell], *code: str) -> list[dict[str, str]]:
    """The variables at each `SHOW` in the code."""
    command, _ = shell
    done = subprocess.run(
        [*command, "\n".join(code)], env=BASE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_value_arrives_as_it_is(shell: tuple[list[str], Shell], prefix: Path) -> None:
    [found] = seen(shell, activate(prefix, shell[1]), SHOW[shell[1]])

    for name, value in HOSTILE.items():
        if not (shell[1] == "powershell" and not value):  # there, empty means unset
            assert found[name] == value
    assert found["PATH"] == f"{prefix}/bin:/usr/bin:/bin"
    assert found["CONDA_PREFIX"] == found["SCRIPTED"] == str(prefix)
    assert found["CONDA_DEFAULT_ENV"] == "demo"
    assert found["CONDA_SHLVL"] == "1"
    assert "PYTHONHOME" not in found


def test_deactivation_restores_everything(shell: tuple[list[str], Shell], prefix: Path) -> None:
    show = SHOW[shell[1]]
    before, after = seen(shell, show, activate(prefix, shell[1]), "deactivate_envforge", show)

    assert after.pop("UNDONE") == str(prefix)
    for changing in ("_", "OLDPWD", "SHLVL"):  # a shell's last command takes its place
        before.pop(changing, None)
        after.pop(changing, None)
    assert after == before


def test_what_changed_meanwhile_is_kept(shell: tuple[list[str], Shell], prefix: Path) -> None:
    """Somebody put another folder before ours: only ours goes."""
    if shell[1] == "powershell":
        pytest.skip("said for the others in their own words")
    extend = "set -gx PATH /first $PATH" if shell[1] == "fish" else 'PATH="/first:$PATH"'
    [found] = seen(shell, activate(prefix, shell[1]), extend, "deactivate_envforge", SHOW[shell[1]])
    assert found["PATH"] == "/first:/usr/bin:/bin"


def test_a_second_activation_takes_the_place_of_the_first(
    shell: tuple[list[str], Shell], prefix: Path
) -> None:
    other = prefix.with_name("other")
    (other / "conda-meta").mkdir(parents=True)
    code = [activate(prefix, shell[1]), activate(other, shell[1]), SHOW[shell[1]]]
    [found, after] = seen(shell, *code, "deactivate_envforge", SHOW[shell[1]])

    assert found["PATH"] == f"{other}/bin:/usr/bin:/bin"
    assert found["CONDA_DEFAULT_ENV"] == "other"
    assert found["PLAIN"] == "mine"
    assert "QUOTES" not in found
    assert after["CONDA_PREFIX"] == "/base"


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_prompts_get_the_name_and_lose_it(name: str, prefix: Path) -> None:
    command, kind = SHELLS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    code = "\n".join(
        [
            "PS1='> '",
            activate(prefix, kind),
            "printf '%s\\n' \"$PS1\"",
            "deactivate_envforge",
            "printf '%s\\n' \"$PS1\"",
        ]
    )
    done = subprocess.run([*command, code], env=BASE, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(demo) > ", "> "]


@pytest.mark.parametrize("shell", ["bash"], indirect=True)
def test_a_program_runs_with_what_activation_sets(
    shell: tuple[list[str], Shell], prefix: Path
) -> None:
    [activated] = seen(shell, activate(prefix, "bash"), SHOW["bash"])
    found = run_environment(prefix, BASE)

    for changing in ("_", "PWD", "OLDPWD", "SHLVL"):
        activated.pop(changing, None)
    assert found == activated
