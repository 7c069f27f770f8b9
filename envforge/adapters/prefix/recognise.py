"""What a directory or a program is: a conda prefix, a virtual environment, an interpreter.

Files tell, nothing is started. CPython finds its prefix in the same way (`Modules/getpath.py`):
a `pyvenv.cfg` beside the program or one folder up; else the folder above that of the program, links
followed, which holds the standard library.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.files import absolute, is_folder, read_start, unusable
from envforge.adapters.prefix_reader import read_state
from envforge.errors import BrokenPrefix, InvalidValue
from envforge.model.prefix import PrefixState
from envforge.verify import torch_version

_PROGRAMS: Final = ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")
_CONFIG: Final = "pyvenv.cfg"
_NAME: Final = re.compile(r"(python|pypy)", re.IGNORECASE)
_MOST_LINKS: Final = 40
"""As many as Linux follows (path_resolution(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An interpreter, and where it keeps its packages."""

    interpreter: Path | None
    """None: the prefix has none."""
    prefix: Path
    is_conda: bool
    """Whether it is activated as conda does it."""
    site: Path | None = None
    """Where packages lie, if that is not the usual place in the prefix."""


def prefix(path: Path) -> Found:
    """What lies at a directory that was named.

    Raises:
        InvalidValue: it does not exist, or is no environment of any kind.
        FileNotUsable: it may not be read.
    """
    reason = _why_no_folder(path)
    if reason is None and not (is_conda(path) or _is_python_home(path)):
        reason = "is no environment: it holds neither `conda-meta` nor `pyvenv.cfg`"
    if reason is not None:
        raise InvalidValue(
            what="prefix",
            value=str(path),
            reason=reason,
            remedy="`conda env list` shows the environments that conda knows; for an interpreter,"
            " `--python EXE`",
        )
    named = absolute(path)
    return _found(named, interpreter_of(named))


def interpreter(command: str, environment: Mapping[str, str]) -> tuple[Path, Found | None]:
    """A Python by its path or its name on PATH, and what it belongs to.

    Returns:
        Its path; and None where no file around it tells, as with pyenv's shims: ask it.

    Raises:
        InvalidValue: there is none, it may not be executed, or it is no Python.
        FileNotUsable: it may not be looked at.
    """
    program = _program(command, environment)
    try:
        if not _is_python(program):
            raise refused(command, "is no Python")
        home = next((item for item in _homes(program) if _is_home(item)), None)
        if home is None or _is_script(program):
            return program, None
        return program, _found(home, program)
    except OSError as error:
        raise unusable(program, error) from error


def told(program: Path, home: Path) -> Found:
    """The same for an interpreter that named its prefix itself."""
    return _found(home, program)


def refused(command: str, reason: str, remedy: str | None = None) -> InvalidValue:
    """The error for what cannot be used as an interpreter."""
    return InvalidValue(what="interpreter", value=command, reason=reason, remedy=remedy)


def state(path: Path) -> PrefixState:
    """How far a prefix of any kind is.

    Raises:
        BrokenPrefix: something that is no environment is in the way.
        FileNotUsable: it may not be read.
    """
    try:
        return read_state(path)
    except BrokenPrefix:
        if _is_python_home(path):
            return PrefixState.FOREIGN
        raise


def is_conda(path: Path) -> bool:
    """Whether conda's records, or those of an install of ours that began, lie in it."""
    return os.path.isdir(path / "conda-meta")  # noqa: PTH112 - what may not be entered is none


def interpreter_of(path: Path) -> Path | None:
    """The Python of a prefix; None: it has none."""
    # `os.path.exists`: what may not be entered is not in sight, and no error
    return next((path / name for name in _PROGRAMS if os.path.exists(path / name)), None)  # noqa: PTH110


def is_cpu_build(found: Found) -> bool:
    """Whether its torch says that it is a build for the CPU; False where that is not known."""
    for site in (found.site, *_usual_sites(found.prefix)):
        if site is None or not _is_file(site / "torch" / "version.py"):
            continue
        try:
            text = (site / "torch" / "version.py").read_text(encoding="utf-8")
            said = torch_version.read_torch_version(text)
        except (OSError, ValueError):
            return False
        return not (said.get("cuda") or said.get("hip") or said.get("xpu"))
    return False


# --- programs -------------------------------------------------------------------------------


def _program(command: str, environment: Mapping[str, str]) -> Path:
    path = Path(command)
    if os.sep not in command:
        on_path = shutil.which(command, path=environment.get("PATH", os.defpath))
        if on_path is None and not os.path.lexists(path):
            raise refused(command, "is not on PATH", "name it with its path")
        path = Path(on_path or command)
    if path.is_dir():
        inside = interpreter_of(path)
        raise refused(
            command,
            "is a directory",
            f"`--prefix {command}`, or `--python {inside}`" if inside else f"`--prefix {command}`",
        )
    if not os.path.exists(path):  # noqa: PTH110 - the same
        gone = "leads nowhere" if os.path.islink(path) else "does not exist"  # noqa: PTH114
        raise refused(command, gone)
    if not os.access(path, os.X_OK):
        raise refused(command, "may not be executed")
    return absolute(path)


def _is_python(program: Path) -> bool:
    """By the name of the file, or of one that a link on the way leads to; a script may be one."""
    names = (step.name for step in (*_links(program), Path(os.path.realpath(program))))
    return any(_NAME.match(name) for name in names) or _is_script(program)


def _is_script(program: Path) -> bool:
    with program.open("rb") as stream:
        return stream.read(2) == b"#!"


def _homes(program: Path) -> Iterator[Path]:
    """Where the prefix of a program may be, in CPython's order; each link is one more place."""
    for step in (*_links(program), Path(os.path.realpath(program))):
        yield from (step.parent, step.parent.parent)


def _links(program: Path) -> Iterator[Path]:
    for _ in range(_MOST_LINKS):
        yield program
        if not os.path.islink(program):  # noqa: PTH114 - the same
            return
        program = Path(os.path.normpath(program.parent / program.readlink()))


def _is_home(path: Path) -> bool:
    return is_conda(path) or _is_python_home(path)


def _is_python_home(path: Path) -> bool:
    """A virtual environment, or a Python with its standard library."""
    return _is_file(path / _CONFIG) or next(_standard_libraries(path), None) is not None


def _standard_libraries(path: Path) -> Iterator[Path]:
    for folder in (path / "lib", path / "lib64"):
        try:
            names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names only
        except OSError:
            continue
        yield from (
            folder / name
            for name in names
            if name.startswith(("python3.", "pypy3.")) and _is_file(folder / name / "os.py")
        )


# --- where packages lie ---------------------------------------------------------------------


def _found(home: Path, program: Path | None) -> Found:
    return Found(
        interpreter=program, prefix=home, is_conda=is_conda(home), site=_unusual_site(home, program)
    )


def _unusual_site(home: Path, program: Path | None) -> Path | None:
    """Where torch is, if that is not in the prefix's own site-packages; None: in the usual place.

    Debian's Python has `dist-packages`, one for the system and one for the administrator's pip;
    a virtual environment may see the packages of the Python that it was made from.
    """
    usual = [folder for folder in _usual_sites(home) if is_folder(folder)]
    if any(is_folder(folder / "torch") for folder in usual):
        return None
    others = [*_debian_sites(home, program), *_base_sites(home)]
    with_torch = next((folder for folder in others if is_folder(folder / "torch")), None)
    if with_torch is not None or usual:
        return with_torch
    return next((folder for folder in others if is_folder(folder)), None)


def _usual_sites(home: Path) -> Iterator[Path]:
    for folder in ("lib", "lib64"):
        yield from sorted((home / folder).glob("python3.*/site-packages"))
    yield home / "Lib" / "site-packages"  # Windows


def _debian_sites(home: Path, program: Path | None) -> Iterator[Path]:
    series = _series(program)
    if series is not None:
        yield home / "local" / "lib" / series / "dist-packages"
        yield home / "lib" / series / "dist-packages"
    yield home / "lib" / "python3" / "dist-packages"


def _series(program: Path | None) -> str | None:
    """`python3.11`, by the name of the file that a link at last leads to."""
    name = Path(os.path.realpath(program)).name if program else ""
    return name if name.startswith("python3.") else None


def _base_sites(home: Path) -> Iterator[Path]:
    """Those that a virtual environment sees by `include-system-site-packages`."""
    try:
        text = read_start(str(home / _CONFIG), 1 << 20).decode("utf-8", "replace")
    except OSError:
        return
    pairs = (line.partition("=") for line in text.splitlines())
    said = {key.strip().lower(): value.strip() for key, _, value in pairs}
    if said.get("include-system-site-packages", "").lower() != "true" or not said.get("home"):
        return
    base = Path(said["home"]).parent
    yield from _usual_sites(base)
    yield from _debian_sites(base, interpreter_of(base))


def _why_no_folder(path: Path) -> str | None:
    try:
        path.lstat()
        if not path.exists():
            return "is a link that leads nowhere"
        if not path.is_dir():
            return "is no directory"
        os.listdir(path)  # noqa: PTH208 - whether it may be read
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist"
    except OSError as error:
        raise unusable(path, error) from error
    return None


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - the same
