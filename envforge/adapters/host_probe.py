"""What a host's Python is made of, and whether it can be repacked.

The interpreter itself is asked, isolated (`-I`), so that neither the current folder, the user's
site nor an environment it stands in answers for it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.linking.elf import is_elf
from envforge.errors import InvalidValue, ToolFailed
from envforge.model.machine import Platform
from envforge.ports import Processes

_PLATFORMS: Final[Mapping[str, Platform]] = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}
_ALTERNATIVE: Final = (
    "use a CPython of pyenv, `uv python install` or your own build: install envforge with it, or"
    " choose another source that reaches a channel"
)
_OLDEST: Final = (3, 8)

_SCRIPT: Final = r"""
import json, os, platform, site, sys, sysconfig
value = sysconfig.get_config_var
print(json.dumps({
    "implementation": platform.python_implementation(),
    "version": platform.python_version(),
    "release": list(sys.version_info[:2]),
    "system": sys.platform,
    "machine": platform.machine(),
    "bits": sys.maxsize.bit_length() + 1,
    "abiflags": getattr(sys, "abiflags", ""),
    "base_prefix": os.path.realpath(sys.base_prefix),
    "named_prefix": sys.base_prefix,
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "stdlib": os.path.realpath(os.path.dirname(os.__file__)),
    "platlibdir": getattr(sys, "platlibdir", "lib"),
    "include": os.path.realpath(value("INCLUDEPY") or ""),
    "shared": bool(value("Py_ENABLE_SHARED")),
    "library": value("INSTSONAME") or "",
    "libdir": os.path.realpath(value("LIBDIR") or ""),
    "makefile": os.path.basename(os.path.dirname(sysconfig.get_makefile_filename())),
    "site": [os.path.basename(path) for path in site.getsitepackages()],
    "glibc": platform.libc_ver()[0] == "glibc",
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInterpreter:
    """A CPython that can be repacked, with the places of its parts. All paths are real ones."""

    version: str
    """`3.11.7`."""
    series: str
    """`3.11`."""
    platform: Platform
    base_prefix: Path
    """Where it is installed, virtual environments looked through."""
    prefixes: tuple[str, ...]
    """The spellings of `base_prefix` that its files may hold, longest first."""
    executable: Path
    stdlib: Path
    include: Path | None
    library: Path | None
    """The shared libpython; None where it is part of the executable."""
    config: str
    """Folder of the build's Makefile in the standard library."""


def probe(processes: Processes, interpreter: Path) -> HostInterpreter:
    """Ask an interpreter, and refuse what would not work when repacked.

    Raises:
        InvalidValue: it does not start, or is of a kind that cannot be repacked.
        ToolMissing: it does not exist.
    """
    try:
        done = processes.run(
            [str(interpreter), "-I", "-c", _SCRIPT], env={"PATH": "/usr/bin:/bin"}, timeout=60
        )
        facts = json.loads(done.stdout)
    except (ToolFailed, ValueError) as error:
        raise refusal(interpreter, "does not start as a Python") from error
    reason = _unfit(facts)
    if reason:
        raise refusal(interpreter, reason)
    return _host(facts)


def refusal(interpreter: Path, reason: str) -> InvalidValue:
    """Why an interpreter cannot be repacked, and what to take instead."""
    return InvalidValue(
        what="host Python", value=str(interpreter), reason=reason, remedy=_ALTERNATIVE
    )


def _unfit(facts: Mapping[str, object]) -> str | None:
    return _unfit_kind(facts) or _unfit_layout(facts)


def _unfit_kind(facts: Mapping[str, object]) -> str | None:
    if facts["implementation"] != "CPython":
        return f"is {facts['implementation']}, and wheels are for CPython"
    if tuple(facts["release"]) < _OLDEST:  # type: ignore[arg-type]
        return f"is Python {facts['version']}, and 3.8 is the oldest that can be repacked"
    if facts["system"] != "linux" or facts["machine"] not in _PLATFORMS or facts["bits"] != 64:
        return f"runs on {facts['system']} {facts['machine']}; only 64-bit Linux can be repacked"
    if not facts["glibc"]:
        return "is not built for glibc"
    if facts["abiflags"]:
        return f"is a special build (`{facts['abiflags']}`), for which wheels are rare"
    return None


def _unfit_layout(facts: Mapping[str, object]) -> str | None:
    stdlib, base = Path(str(facts["stdlib"])), Path(str(facts["base_prefix"]))
    # Debian moves what is installed to dist-packages and local/, and freezes that into site.
    if "dist-packages" in facts["site"]:  # type: ignore[operator]
        return "is the distribution's own, which puts packages where no environment looks"
    series = ".".join(str(part) for part in facts["release"])  # type: ignore[attr-defined]
    if facts["platlibdir"] != "lib" or stdlib != base / "lib" / f"python{series}":
        return f"keeps its library in `{stdlib}`, and environments have it in lib/python{series}"
    if (base / "conda-meta").is_dir():
        return "is part of a conda environment, and needs the other packages there"
    with Path(str(facts["executable"])).open("rb") as stream:
        if not is_elf(stream.read(16)):
            return "is a wrapper script around another interpreter"
    library = _library(facts)
    if library is not None and not os.access(library, os.R_OK):
        return f"has no `{facts['library']}` that you can read in `{facts['libdir']}`"
    return None


def _library(facts: Mapping[str, object]) -> Path | None:
    if not facts["shared"]:
        return None
    return Path(str(facts["libdir"])) / str(facts["library"])


def _host(facts: Mapping[str, object]) -> HostInterpreter:
    base, include = Path(str(facts["base_prefix"])), Path(str(facts["include"]))
    spellings = {str(base), str(facts["named_prefix"])}
    return HostInterpreter(
        version=str(facts["version"]),
        series=".".join(str(part) for part in facts["release"]),  # type: ignore[attr-defined]
        platform=_PLATFORMS[str(facts["machine"])],
        base_prefix=base,
        prefixes=tuple(sorted(spellings, key=len, reverse=True)),
        executable=Path(str(facts["executable"])),
        stdlib=Path(str(facts["stdlib"])),
        include=include if include.is_dir() else None,
        library=_library(facts),
        config=str(facts["makefile"]),
    )
