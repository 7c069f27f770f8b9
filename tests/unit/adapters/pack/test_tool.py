"""The tool: unpacked conda packages and wheels become one tar, in one form."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest
from fakes.wheels import build_wheel

from envforge.adapters.pack import tool
from envforge.version import __version__

SITE = "lib/python3.12/site-packages"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A conda package as it lies unpacked."""
    folder = tmp_path / "python-3.12.1-0"
    for path, text in {
        "bin/python3.12": "#!program",
        "bin/pip": "no",
        "lib/python3.12/os.py": "name = 1\n",
        "lib/python3.12/test/x.py": "no",
        "lib/libssl.so.3": "ssl",
        "info/index.json": "{}",
    }.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "bin/python3.12").chmod(0o755)
    (folder / "bin/python").symlink_to("python3.12")
    (folder / "lib/libssl.so").symlink_to("libssl.so.3")
    (folder / "lib/gone.so").symlink_to("libgone.so.1")
    (folder / "lib/again.so").symlink_to("gone.so")
    (folder / "lib/python3.1").symlink_to("python3.12")
    return folder


def write(tmp_path: Path, package: Path, *wheels: Path) -> Path:
    target = tmp_path / "tool.tar"
    tool.write_tool(target, unpacked=[package], wheels=wheels, python="3.12.1")
    return target


def seen(path: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        return {item.name: item for item in tar}


def test_it_holds_what_runs_and_no_link_leads_nowhere(tmp_path: Path, package: Path) -> None:
    found = seen(write(tmp_path, package))

    own = {name for name in found if not name.startswith(f"{SITE}/envforge")}
    assert own == {
        "bin/envforge",
        "bin/python",
        "bin/python3.12",
        "lib/libssl.so",
        "lib/libssl.so.3",
        "lib/python3.1",
        "lib/python3.12/os.py",
    }
    assert found["bin/python"].linkname == "python3.12"
    assert (found["bin/python3.12"].mode, found["lib/libssl.so.3"].mode) == (0o755, 0o644)
    assert {item.mtime for item in found.values()} == {0}


def test_it_holds_envforge_with_its_templates_and_its_name(tmp_path: Path, package: Path) -> None:
    found = seen(write(tmp_path, package))

    assert f"{SITE}/envforge/cli/__init__.py" in found
    assert f"{SITE}/envforge/adapters/pack/bootstrap.sh" in found
    assert any(name.startswith(f"{SITE}/envforge/_templates/environments/") for name in found)
    assert f"{SITE}/envforge-{__version__}.dist-info/METADATA" in found
    assert not [name for name in found if "__pycache__" in name]


def test_wheels_are_spread_as_installers_do(tmp_path: Path, package: Path) -> None:
    wheel = build_wheel(
        tmp_path / "w",
        "loud",
        "1.0",
        modules={
            "loud.py": "x = 1\n",
            "loud-1.0.data/scripts/loud": "program",
            "loud-1.0.data/platlib/loud_fast.py": "y = 1\n",
            "loud-1.0.data/data/share/loud.txt": "z\n",
            "loud-1.0.data/headers/loud.h": "no",
            "loud/__pycache__/x.pyc": "no",
        },
    )
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("../../evil.py", "no")
        archive.writestr("/etc/evil", "no")

    found = seen(write(tmp_path, package, wheel))

    assert {name for name in found if "loud" in name or "evil" in name} == {
        "bin/loud",
        "share/loud.txt",
        f"{SITE}/loud.py",
        f"{SITE}/loud_fast.py",
        *(f"{SITE}/loud-1.0.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL")),
    }
    assert found["bin/loud"].mode == 0o755


def test_equal_inputs_give_equal_bytes(tmp_path: Path, package: Path) -> None:
    first = write(tmp_path, package).read_bytes()
    for path in package.rglob("*.py"):
        path.touch()
    assert write(tmp_path, package).read_bytes() == first


def test_what_runs_here_is_what_is_asked_for() -> None:
    names = {pin.partition("==")[0] for pin in tool.installed_versions(tool.own_requirements())}

    assert {"click", "py-rattler", "uv", "huggingface-hub"} <= names
    assert "matplotlib" not in names  # an extra
    assert tool.installed_versions(["no-such-distribution"]) == ()
