"""Guards for every test: a home of its own, no network but loopback."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

pytest_plugins = ["fakes.local_channel", "fakes.places"]

SHARED_CHANNELS = Path(
    os.environ.get("ENVFORGE_TEST_CHANNELS", Path(__file__).parents[2] / "shared" / "channels")
)
"""Real channel metadata, where a checkout of it lies beside the project."""

_CLEARED_PREFIXES = ("ENVFORGE_", "CONDA_", "MAMBA_", "HF_", "RATTLER_")
_real_connect = socket.socket.connect


def _is_local(address: object) -> bool:
    if isinstance(address, (str, bytes)):
        return True
    return isinstance(address, tuple) and str(address[0]) in {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def guard(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point home and caches at a temporary folder, and refuse sockets that leave the machine."""
    home = tmp_path_factory.mktemp("home")
    for name in list(os.environ):
        if name.startswith(_CLEARED_PREFIXES) and not name.startswith("ENVFORGE_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def connect(self: socket.socket, address: object) -> None:
        if not _is_local(address):
            raise RuntimeError(f"a test tried to reach {address!r}")
        _real_connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", connect)
    # Nothing here outlives a power cut, and a disk takes longer over it than most tests.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return home


@pytest.fixture
def shared_channels() -> Path:
    """Real channel metadata; skips, visibly, where it is absent."""
    if not (SHARED_CHANNELS / "conda-forge").is_dir():
        pytest.skip(f"no channel metadata at {SHARED_CHANNELS}")
    return SHARED_CHANNELS
