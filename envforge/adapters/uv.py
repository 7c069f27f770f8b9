"""Starting uv: which program, with which settings, and what its failures mean.

uv is a wheel that carries a program. Everything it is told about indexes goes through its
environment, since addresses may hold credentials and command lines are readable by all users.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.pip_settings import PipSettings, redact, uv_arguments, uv_environment
from envforge.errors import EnvforgeError, FileNotUsable, ToolFailed, ToolMissing, Unreachable
from envforge.formats.python.pylock import PylockPackage, PylockWheel
from envforge.model.lock import LockedPackage
from envforge.ports import Completed, Processes

_KEPT: Final = (
    *("UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_NO_CONFIG", "UV_NO_CACHE", "UV_LINK_MODE"),
    *("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_EXTRA_INDEX_URL"),
    *("UV_KEYRING_PROVIDER", "UV_INSECURE_HOST", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS"),
    *("UV_HTTP_", "UV_REQUEST_TIMEOUT", "UV_CONCURRENT_", "UV_OFFLINE", "UV_EXCLUDE_NEWER"),
)
"""What may steer uv from outside: where packages come from and how. Its other variables
(`UV_TORCH_BACKEND`, `UV_CONSTRAINT`, `UV_RESOLUTION` …) would change what a lock holds."""
_HIJACKING: Final = ("PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "LD_PRELOAD")
"""Makes another interpreter, or other libraries, answer for the prefix."""

_FETCH = re.compile(r"Failed to fetch: `?(?P<url>\S+?)`?$", re.MULTILINE)
_STATUS = re.compile(r"HTTP status (?:client|server) error \((?P<status>[^)]+)\)")
_NO_ACCESS = re.compile(
    r"An index(?: URL)? \((?P<url>\S+?)\) (?:could not be queried[^(]*\(|returned an? )"
    r"(?P<status>40[13] \w+)"
)
_NOT_CACHED = re.compile(r"wasn't found in the cache: `?(?P<url>\S+?)`?$", re.MULTILINE)
_CERTIFICATE = re.compile(r"certificate|UnknownIssuer|CertNotValid", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """uv with the site's settings."""

    processes: Processes
    environment: Mapping[str, str]
    """Variables of this process."""
    settings: PipSettings
    offline: bool = False
    program: str | None = None
    """None: the program in uv's wheel."""

    def run(self, *arguments: str, cwd: Path, extra: Mapping[str, str] | None = None) -> Completed:
        """Run to the end, whatever the status; its texts come without credentials.

        Raises:
            ToolMissing: uv is not installed.
            ToolFailed: it takes longer than an hour.
        """
        options = ["--no-progress", "--color", "never", *(["--offline"] if self.offline else [])]
        if "uninstall" not in arguments[:2]:  # it knows no indexes, and refuses to hear of them
            options += uv_arguments(self.settings)
        done = self.processes.run(
            [self.program or _find(), *arguments, *options],
            env={**self.variables(), **(extra or {})},
            timeout=3600,
            cwd=cwd,
            check=False,
        )
        return Completed(status=done.status, stdout=redact(done.stdout), stderr=redact(done.stderr))

    def variables(self) -> dict[str, str]:
        """The environment uv is started with."""
        kept = {
            name: value
            for name, value in self.environment.items()
            if not name.startswith(_HIJACKING)
            and (not name.startswith("UV_") or name.startswith(_KEPT))
        }
        return {
            **kept,
            **uv_environment(self.settings, self.environment),
            "UV_PYTHON_DOWNLOADS": "never",
        }


def _find() -> str:
    try:
        from uv import find_uv_bin

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise ToolMissing(
            tool="uv", needed_for="resolving and installing wheels", remedy="`pip install uv`"
        ) from error


def network_failure(stderr: str) -> EnvforgeError | None:
    """What a failure says about the network or the disk; None: it is about something else."""
    if "No space left on device" in stderr or "Disk quota exceeded" in stderr:
        return _full_disk(stderr)
    if found := _NOT_CACHED.search(stderr):
        return offline_failure(found["url"])
    if found := _NO_ACCESS.search(stderr):
        return _refused(found["url"], found["status"])
    found = _FETCH.search(stderr)
    return _unreachable(found["url"], stderr) if found else None


def offline_failure(url: str) -> Unreachable:
    """Something is not in the cache, and the network may not be asked."""
    return Unreachable(
        url=url,
        reason="it is not in uv's cache, and we are offline",
        remedy="run once without `--offline`",
    )


def _refused(url: str, status: str) -> Unreachable:
    return Unreachable(
        url=url,
        reason=f"it answered {status}",
        remedy="give uv or pip credentials for it: `~/.netrc`, or the address in `pip.conf`",
    )


def _unreachable(url: str, stderr: str) -> Unreachable:
    status = _STATUS.search(stderr)
    if status and status["status"].startswith(("401", "403", "407")):
        return _refused(url, status["status"])
    if status:
        return Unreachable(url=url, reason=f"it answered {status['status']}")
    # The causes go from the general to the particular; the last one is what happened.
    causes = re.findall(r"^ +cause: (.+)$", stderr, re.MULTILINE)
    reason = causes[-1].strip().lower() if causes else "the request failed"
    remedy = None
    if _CERTIFICATE.search(reason):
        remedy = "name the site's certificate bundle: `pip config set global.cert FILE`"
    return Unreachable(url=url, reason=reason, remedy=remedy)


def _full_disk(stderr: str) -> FileNotUsable:
    found = re.search(r"(?:to|at|file|directory|path):? `?(?P<path>/[^`\n:]+)`?", stderr)
    quota = "Disk quota exceeded" in stderr
    return FileNotUsable(
        path=found["path"].strip() if found else "uv's cache or the prefix",
        reason="disk quota exceeded" if quota else "no space left on device",
        remedy="free some space, or put uv's cache on another disk with `UV_CACHE_DIR`",
    )


def failed(arguments: Sequence[str], done: Completed) -> ToolFailed:
    """A failure that says nothing we know."""
    return ToolFailed(command=("uv", *arguments), status=done.status, output=done.stderr)


def pylock_package(wheel: LockedPackage) -> PylockPackage:
    """A locked wheel in the form uv reads."""
    file = PylockWheel(url=wheel.url, sha256=wheel.sha256)
    return PylockPackage(name=wheel.name, version=wheel.version, wheels=(file,))
