"""What a directory or a program is, by its files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from envforge.adapters.prefix import recognise
from envforge.errors import BrokenPrefix, FileNotUsable, InvalidValue
from envforge.model.prefix import PrefixState

SITE = "lib/python3.10/site-packages"


def program(path: Path, content: bytes = b"\x7fELF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def conda(root: Path) -> Path:
    """A conda prefix with a Python."""
    program(root / "bin/python3.10")
    (root / "bin/python").symlink_to("python3.10")
    (root / "conda-meta").mkdir()
    (root / "conda-meta/history").touch()
    (root / SITE).mkdir(parents=True)
    return root


def installation(root: Path, site: str = SITE) -> Path:
    """A Python as `make install` leaves it, or a distribution's."""
    program(root / "bin/python3.10")
    (root / "lib/python3.10").mkdir(parents=True)
    (root / "lib/python3.10/os.py").touch()
    (root / site).mkdir(parents=True, exist_ok=True)
    return root


def venv(root: Path, base: Path, system: str = "false") -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/python").symlink_to(base / "bin/python3.10")
    (root / SITE).mkdir(parents=True)
    text = f"home = {base}/bin\ninclude-system-site-packages = {system}\nversion = 3.10.1\n"
    (root / "pyvenv.cfg").write_text(text)
    return root


def torch(site: Path, cuda: str | None = None) -> None:
    (site / "torch").mkdir(parents=True)
    (site / "torch/version.py").write_text(f"__version__ = '2.0.1'\ncuda = {cuda!r}\n")


# --- directories ----------------------------------------------------------------------------


def test_prefixes_of_every_kind(tmp_path: Path) -> None:
    found = recognise.prefix(conda(tmp_path / "c"))
    assert (found.is_conda, found.prefix, found.site) == (True, tmp_path / "c", None)
    assert found.interpreter == tmp_path / "c/bin/python"
    base = installation(tmp_path / "b")
    assert not recognise.prefix(base).is_conda
    assert recognise.prefix(base).interpreter is None
    found = recognise.prefix(venv(tmp_path / "v", base))
    assert (found.is_conda, found.interpreter) == (False, tmp_path / "v/bin/python")


def test_a_relative_path_becomes_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conda(tmp_path / "c")
    monkeypatch.chdir(tmp_path)
    assert recognise.prefix(Path("c")).prefix == tmp_path / "c"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("x"), "is no directory"),
        (lambda path: path.mkdir(), "is no environment"),
        (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
        (lambda path: path.symlink_to(path.name), "is a link that leads nowhere"),
    ],
    ids=["gone", "file", "empty", "dangling", "loop"],
)
def test_what_is_no_prefix(tmp_path: Path, make: object, reason: str) -> None:
    make(tmp_path / "x")  # type: ignore[operator]
    with pytest.raises((InvalidValue, FileNotUsable), match=f"{reason}|symbolic links"):
        recognise.prefix(tmp_path / "x")


def test_the_state_of_what_conda_did_not_make(tmp_path: Path) -> None:
    base = installation(tmp_path / "b")
    assert recognise.state(base) is PrefixState.FOREIGN
    assert recognise.state(venv(tmp_path / "v", base)) is PrefixState.FOREIGN
    assert recognise.state(conda(tmp_path / "c")) is PrefixState.FOREIGN
    assert recognise.state(tmp_path / "none") is PrefixState.ABSENT
    (tmp_path / "x").mkdir()
    (tmp_path / "x/thesis").touch()
    with pytest.raises(BrokenPrefix):
        recognise.state(tmp_path / "x")


# --- interpreters ---------------------------------------------------------------------------


def home_of(command: Path | str, **environment: str) -> Path | None:
    found = recognise.interpreter(str(command), environment)[1]
    return found.prefix if found else None


def test_an_interpreter_belongs_to_the_prefix_around_it(tmp_path: Path) -> None:
    base = installation(tmp_path / "b")
    assert home_of(base / "bin/python3.10") == base
    assert home_of(conda(tmp_path / "c") / "bin/python") == tmp_path / "c"
    assert home_of(venv(tmp_path / "v", base) / "bin/python") == tmp_path / "v"


def test_a_link_from_elsewhere_is_followed(tmp_path: Path) -> None:
    """`/usr/local/bin/python` in an image leads into its conda."""
    conda(tmp_path / "c")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("../c/bin/python")
    assert home_of(tmp_path / "bin/python") == tmp_path / "c"


def test_a_name_is_looked_for_on_path(tmp_path: Path) -> None:
    conda(tmp_path / "c")
    assert home_of("python", PATH=f"/nowhere:{tmp_path}/c/bin") == tmp_path / "c"
    with pytest.raises(InvalidValue, match="is not on PATH"):
        home_of("python", PATH="/nowhere")


def test_this_interpreter() -> None:
    assert home_of(sys.executable) == Path(sys.prefix)


@pytest.mark.parametrize("content", [b"#!/bin/sh\nexec python\n", b"\x7fELF"])
def test_one_that_no_file_tells_of(tmp_path: Path, content: bytes) -> None:
    """pyenv's shims are scripts: they must be asked."""
    shim = program(tmp_path / "shims/python", content)
    assert recognise.interpreter(str(shim), {}) == (shim, None)
    told = recognise.told(shim, conda(tmp_path / "c"))
    assert (told.prefix, told.interpreter, told.is_conda) == (tmp_path / "c", shim, True)


def test_what_is_no_interpreter(tmp_path: Path) -> None:
    """Each with its reason, and what was meant where that can be told."""
    conda(tmp_path / "c")
    (tmp_path / "dangling").symlink_to("nowhere")
    program(tmp_path / "python-no").chmod(0o644)
    cases = {
        str(program(tmp_path / "ls")): "is no Python",
        str(tmp_path / "gone"): "does not exist",
        str(tmp_path / "dangling"): "leads nowhere",
        str(tmp_path / "c"): "is a directory",
        str(tmp_path): "is a directory",
    }
    for command, reason in cases.items():
        with pytest.raises(InvalidValue, match=reason):
            recognise.interpreter(command, {})
    with pytest.raises(InvalidValue) as caught:
        recognise.interpreter(str(tmp_path / "c"), {})
    assert f"--python {tmp_path}/c/bin/python" in (caught.value.hint or "")
    if not os.access(tmp_path / "python-no", os.X_OK):
        with pytest.raises(InvalidValue, match="may not be executed"):
            recognise.interpreter(str(tmp_path / "python-no"), {})


# --- where packages lie ---------------------------------------------------------------------


def test_a_distributions_python_has_folders_of_its_own(tmp_path: Path) -> None:
    """Debian: the administrator's pip goes to local/, the packages of the system to python3/."""
    usr = installation(tmp_path / "usr", "lib/python3/dist-packages")
    assert recognise.interpreter(str(usr / "bin/python3.10"), {})[1] == recognise.Found(
        interpreter=usr / "bin/python3.10",
        prefix=usr,
        is_conda=False,
        site=usr / "lib/python3/dist-packages",
    )
    local = usr / "local/lib/python3.10/dist-packages"
    torch(local)
    found = recognise.interpreter(str(usr / "bin/python3.10"), {})[1]
    assert found is not None
    assert found.site == local


@pytest.mark.parametrize(("system", "sees"), [("true", True), ("false", False), ("True", True)])
def test_a_virtual_environment_may_see_the_packages_of_its_base(
    tmp_path: Path, system: str, sees: bool
) -> None:
    base = installation(tmp_path / "b")
    torch(base / SITE)
    made = venv(tmp_path / "v", base, system)
    assert recognise.prefix(made).site == (base / SITE if sees else None)
    torch(made / SITE)
    assert recognise.prefix(made).site is None


@pytest.mark.parametrize(("cuda", "is_cpu"), [(None, True), ("11.8", False)])
def test_a_cpu_build_is_told_by_its_files(tmp_path: Path, cuda: str | None, is_cpu: bool) -> None:
    """It can be tried on any machine."""
    found = recognise.prefix(conda(tmp_path / "c"))
    assert not recognise.is_cpu_build(found)
    torch(tmp_path / "c" / SITE, cuda)
    assert recognise.is_cpu_build(found) is is_cpu
    (tmp_path / "c" / SITE / "torch/version.py").write_bytes(b"\xff\xfe broken")
    assert not recognise.is_cpu_build(found)
