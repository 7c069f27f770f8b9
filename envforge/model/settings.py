"""Settings, read once and then only handed on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaSettings:
    """What `.condarc` files and `CONDA_*` variables say, as far as it concerns us."""

    channel_alias: str = "https://conda.anaconda.org"
    custom_channels: Mapping[str, str] = field(default_factory=dict)
    """Channel name to the address it lies under (without the name)."""
    mirrored_channels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Channel name to the addresses that hold the same; the first that answers is read."""
    custom_multichannels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """One name for several channels."""
    default_channels: tuple[str, ...] = ()
    """What `defaults` means; empty: conda's own."""
    channels: tuple[str, ...] = ()
    envs_dirs: tuple[Path, ...] = ()
    pkgs_dirs: tuple[Path, ...] = ()
    ssl_verify: bool | str = True
    """False, or the path of a certificate bundle."""
    proxy_servers: Mapping[str, str] = field(default_factory=dict)
    offline: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that steers envforge besides arguments."""

    home: Path
    envs_folder: Path
    """Where the folders of environments lie (`./envs`)."""
    prefixes: Path
    """Where environments are installed: the first writable of conda's `envs_dirs`."""
    package_cache: Path
    """Where unpacked packages lie: the first writable of `pkgs_dirs`."""
    cache: Path
    """envforge's own cache: repodata, host Python packages."""
    store: Path
    """Where model files lie, each once, shared by all environments (`cache/layout.py`)."""
    views: Path
    """Where cache trees for environments and users lie: on the store's own filesystem and mount."""
    templates: Path = Path("templates")
    """Where somebody's own templates lie: beside the environments' folder."""
    host_root: Path = Path("/")
    """Where the machine's own files are seen: `/host` in a container that has it mounted there."""
    mirror: str | None = None
    """`--mirror`: a folder or address under which channels are found by their name."""
    wheel_index: str = "auto"
    """`auto`, `pytorch`, `site` or an address; see `Request.wheel_index`."""
    offline: bool = False
    """Take nothing from the network: caches and folders only."""
    timeout: float = 60.0
    """Seconds that one answer of a channel may take, its body included; then it is tried again.

    conda waits as long for the next byte (`remote_read_timeout_secs`)."""
    link_scripts: bool = False
    """Whether packages' post-link scripts may run."""
    conda: CondaSettings = field(default_factory=CondaSettings)
    channels: tuple[str, ...] = ()
    """Of the lock at hand: a channel `https://host/t/$TOKEN/ch` says how its packages are read."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The process environment as it was read, for child processes and `CONDA_OVERRIDE_*`."""
