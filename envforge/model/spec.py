"""What a person asks for, from the command line to environment.yml."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from envforge.errors import InvalidValue
from envforge.model.cuda import CudaVersion, accelerator_label
from envforge.model.machine import Platform

Source = Literal["pytorch", "conda-forge", "wheels"]
"""Where torch comes from: the pytorch channel, conda-forge, or wheel indexes."""
SOURCES: Final[tuple[Source, ...]] = ("pytorch", "conda-forge", "wheels")

TORCH_NAMES: Final = ("pytorch", "torch")
"""What channels call it, and what wheel indexes do."""
AUTO: Final = "auto"
LATEST: Final = "latest"
HOST: Final = "host"

_PROJECT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_project_name(name: str) -> str:
    """Return the name if it may become a folder, an environment name and part of scripts.

    Raises:
        InvalidValue: with the reason; the rule is `[a-z0-9][a-z0-9._-]*`, at most 64 characters.
    """
    if _PROJECT.fullmatch(name):
        return name
    if not name:
        reason = "is empty"
    elif len(name) > 64:
        reason = f"has {len(name)} characters, and 64 are the limit"
    elif not re.match(r"[a-z0-9]", name):
        reason = f"starts with {name[0]!r}, and must start with a lower-case letter or a digit"
    else:
        bad = next(char for char in name if not re.fullmatch(r"[a-z0-9._-]", char))
        reason = f"holds {bad!r}, and may hold lower-case letters, digits and `.`, `_`, `-`"
    suggestion = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("._-")[:64]
    raise InvalidValue(
        what="project name",
        value=name,
        reason=reason,
        remedy=f"for example `{suggestion}`" if suggestion else "for example `nlp-bert`",
    )


def environment_name(project: str, torch: str, cuda: CudaVersion | None) -> str:
    """`nlp-bert-torch20-cu118`: the folder, the conda environment, and a claim that is checked."""
    major, minor = torch.split(".")[:2]
    return f"{project}-torch{major}{minor}-{accelerator_label(cuda)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One command line of `create` or `lock`, parsed but not yet judged."""

    project: str
    torch: str
    """`2.0.1`, `2.0` (its newest patch release that fits), or `latest`."""
    cuda: CudaVersion | Literal["auto"] | None
    """None: a CPU build. `auto`: the newest the machine runs, CPU where there is no GPU."""
    python: str | None = None
    """`3.10`, `3.10.14`, `host` (the interpreter that runs envforge), or None: chosen."""
    packages: tuple[str, ...] = ()
    """`--with`: conda specs, such as `transformers>=4.40`."""
    template: str | None = None
    source: Source | Literal["auto"] = AUTO
    channels: tuple[str, ...] = ()
    """`--channel`: searched before the source's own, by name or address."""
    platforms: tuple[Platform, ...] = ("linux-64",)
    wheel_index: str = AUTO
    """`pytorch` (its index for the CUDA), `site` (what pip is configured with), an address, or
    `auto`: `site` where pip is told of find-links or extra indexes, else `pytorch`."""
    exclude_newer: str | None = None
    """Nothing published after this moment counts, `2024-03-01T23:59:59Z`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A version range that keeps known-bad pairs apart."""

    package: str
    range: str
    """Conda syntax, for example `<2024.1`."""
    reason: str
    source: str
    """Where the defect is documented, for example `pytorch/pytorch#123097`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One direct dependency: a line of environment.yml."""

    name: str
    version: str = ""
    """A conda version spec (`=2.0.1`, `>=4.40,<5`), or a PEP 440 one under `pip`; empty: any."""
    build: str = ""
    """Build string or glob, conda only."""
    channel: str | None = None
    """`pytorch::` prefix, conda only."""
    manager: Literal["conda", "pip"] = "conda"
    extras: tuple[str, ...] = ()
    url: str | None = None
    """`name @ url#sha256=…`: a wheel that is not on the default index."""
    marker: str = ""
    """PEP 508 environment marker, pip only: `sys_platform == 'linux'`."""
    comment: str | None = None
    """What stands behind the line: the range asked for, or why it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSpec:
    """environment.yml as data. The text with its comments is kept by `formats.environment_yml`."""

    name: str
    channels: tuple[str, ...]
    """In order of priority, as written; `nodefaults` included."""
    dependencies: tuple[Dependency, ...]
    platforms: tuple[Platform, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def conda(self) -> tuple[Dependency, ...]:
        """The dependencies that conda installs."""
        return tuple(item for item in self.dependencies if item.manager == "conda")

    def pip(self) -> tuple[Dependency, ...]:
        """The dependencies that are wheels."""
        return tuple(item for item in self.dependencies if item.manager == "pip")

    def find(self, name: str) -> Dependency | None:
        """The direct dependency of this name, if there is one."""
        return next((item for item in self.dependencies if item.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class VirtualPackage:
    """What a solver may assume of the target machine, for example `__cuda 11.8`."""

    name: str
    version: str
    build: str = "0"
