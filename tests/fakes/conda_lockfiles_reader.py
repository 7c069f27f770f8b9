"""Reads a lock with conda-lockfiles, and prints what conda would be told to install.

    python conda_lockfiles_reader.py conda-lock|pixi FILE

conda-lockfiles is a plug-in of conda, which no package index has. The names that it imports from
conda are given here as empty ones: its models validate the file and its own function turns it into
an environment; only that packages are looked up in conda's cache is replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class CondaError(Exception):
    """conda's."""


@dataclass
class Channel:
    """conda's, as far as its name is asked for."""

    url: str

    @property
    def canonical_name(self) -> str:
        return self.url.rstrip("/").rpartition("/")[2]


@dataclass
class EnvironmentConfig:
    channels: tuple[str, ...] = ()


@dataclass
class Environment:
    prefix: str
    platform: str
    config: EnvironmentConfig
    explicit_packages: Any = ()
    external_packages: dict[str, list[str]] = field(default_factory=dict)


def _yaml() -> SimpleNamespace:
    from ruamel.yaml import YAML

    return SimpleNamespace(load=YAML(typ="safe").load)


def pretend_conda() -> None:
    """Put modules of conda's names where imports look first."""
    context = SimpleNamespace(
        subdir="linux-64", target_prefix="/prefix", dry_run=False, download_only=False
    )
    nothing = type("Nothing", (), {})
    names: dict[str, dict[str, Any]] = {
        "conda": {},
        "conda.base": {},
        "conda.base.context": {"context": context},
        "conda.common": {},
        "conda.common.io": {"dashlist": lambda items: "\n".join(map(str, items))},
        "conda.common.serialize": {"yaml": _yaml()},
        "conda.core": {},
        "conda.core.package_cache_data": {
            "PackageCacheData": nothing,
            "ProgressiveFetchExtract": nothing,
        },
        "conda.exceptions": {
            "CondaError": CondaError,
            "CondaValueError": CondaError,
            "CondaExitZero": CondaError,
            "DryRunExit": CondaError,
        },
        "conda.models": {},
        "conda.models.channel": {"Channel": Channel},
        "conda.models.environment": {
            "Environment": Environment,
            "EnvironmentConfig": EnvironmentConfig,
        },
        "conda.models.match_spec": {"MatchSpec": nothing},
        "conda.models.records": {"PackageRecord": nothing},
        "conda.plugins": {},
        "conda.plugins.types": {"EnvironmentSpecBase": object},
    }
    for name, attributes in names.items():
        module = ModuleType(name)
        module.__dict__.update(attributes)
        sys.modules[name] = module


def read(kind: str, path: Path) -> dict[str, Any]:
    """Platform to what is to be installed there."""
    from conda_lockfiles.conda_lock import v1
    from conda_lockfiles.rattler_lock import v6

    module, loader = (
        (v1, v1.CondaLockV1Loader) if kind == "conda-lock" else (v6, v6.RattlerLockV6Loader)
    )
    module.records_from_conda_urls = lambda found, **_: found
    lock = loader(path)
    assert lock.can_handle()
    return {name: _told(lock.env_for(name)) for name in _platforms(lock)}


def _platforms(lock: Any) -> Iterable[str]:
    names: Iterable[str] = lock.available_platforms
    return names


def _told(environment: Environment) -> dict[str, Any]:
    return {
        "channels": environment.config.channels,
        "conda": environment.explicit_packages,
        "others": environment.external_packages,
    }


if __name__ == "__main__":
    pretend_conda()
    json.dump(read(sys.argv[1], Path(sys.argv[2])), sys.stdout)
