"""The versions that matter of what we run on, and whose machine it is."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path


def system_facts(root: Path = Path("/")) -> dict[str, str]:
    """Label to value, for a bug report: no names, no numbers of devices."""
    return dict(_system(root))


def _system(root: Path) -> Iterator[tuple[str, str]]:
    yield "system", f"{_distribution(root)}, {platform.machine()}"
    yield "kernel", kernel_family(platform.release())
    if any(platform.libc_ver()):
        yield "libc", " ".join(platform.libc_ver())
    yield "python of envforge", f"{platform.python_implementation()} {platform.python_version()}"


def _distribution(root: Path) -> str:
    try:
        text = (root / "etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.system()
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    return fields.get("PRETTY_NAME", platform.system()).strip("\"' ")


def kernel_family(release: str) -> str:
    """`6.8` of `6.8.0-45-generic`, with a mark of WSL: the rest can name a site's own build."""
    found = re.match(r"\d+\.\d+", release)
    mark = ", WSL" if "microsoft" in release.lower() else ""
    return f"{found[0] if found else 'unknown'}{mark}"


def user_and_host() -> tuple[str, str]:
    """The account's and the machine's names; empty where the system has none."""
    try:
        import pwd

        user = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows; a container with a user that nobody listed
        user = ""
    return user, platform.node()
