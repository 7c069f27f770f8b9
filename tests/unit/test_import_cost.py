"""What is not needed is not imported: help and completion answer at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.workplace import fake_forge, make_environment

import envforge

HEAVY = frozenset(
    {"rattler", "pydantic", "conda_lock", "rich", "ruamel", "huggingface_hub", "jinja2", "uv"}
)
_ASK = """
import json, sys
{code}
print(json.dumps(sorted(sys.modules)))
"""


def modules_after(code: str) -> set[str]:
    """All modules that a fresh interpreter holds after this."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK.format(code=code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def after_command(*arguments: str) -> set[str]:
    """All modules after `envforge` with these arguments."""
    return modules_after(
        "from envforge.cli import cli\n"
        f"cli.main({list(arguments)!r}, prog_name='envforge', standalone_mode=False)"
    )


def top_level(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_importing_the_package_loads_nothing() -> None:
    modules = modules_after("import envforge; assert envforge.__version__")

    assert not top_level(modules) & {*HEAVY, "click"}
    assert {name for name in modules if name.startswith("envforge")} == {
        "envforge",
        "envforge.version",
    }


def test_the_front_door_loads_no_engine() -> None:
    """Nor does making one."""
    modules = modules_after(
        "import logging\nfrom envforge import Forge, EnvforgeError\nForge()\nlogging.getLogger()"
    )

    assert not top_level(modules) & {*HEAVY, "click"}


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_no_command(arguments: tuple[str, ...]) -> None:
    modules = after_command(*arguments)

    assert not top_level(modules) & HEAVY
    ours = {name for name in modules if name.startswith("envforge.")}
    assert ours <= {
        "envforge.cli",
        "envforge.cli.command_table",
        "envforge.cli.failure",
        "envforge.errors",
        "envforge.version",
    }


@pytest.mark.parametrize("command", ["lock", "create", "install", "verify", "matrix", "run"])
def test_help_of_a_command_loads_no_engine(command: str) -> None:
    modules = after_command(command, "--help")

    assert not top_level(modules) & HEAVY
    assert "envforge.forge" not in modules


def test_reading_environments_loads_no_engine(tmp_path: Path) -> None:
    """But for the reader of YAML."""
    folder = make_environment(fake_forge(tmp_path))
    for words in (("list",), ("show", folder.name)):
        modules = after_command(*words, "--envs", str(folder.parent))
        assert top_level(modules) & HEAVY == {"ruamel"}


def test_names_are_there_when_they_are_asked_for() -> None:
    assert envforge.Forge.__name__ == "Forge"
    assert issubclass(envforge.EnvforgeError, Exception)
    with pytest.raises(AttributeError, match="no attribute 'Froge'"):
        _ = envforge.Froge
