"""The guard of `tests/conftest.py` really guards."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from envforge.adapters.settings import load_settings


def test_home_and_caches_are_temporary(guard: Path, tmp_path: Path) -> None:
    settings = load_settings(os.environ, tmp_path)

    assert Path.home() == guard
    assert settings.home == guard
    for folder in (settings.prefixes, settings.package_cache, settings.cache):
        assert folder.is_relative_to(guard)
    assert list(guard.iterdir()) == []


def test_the_settings_of_the_person_who_runs_the_tests_do_not_count() -> None:
    ours = ("ENVFORGE_", "CONDA_", "MAMBA_", "HF_", "RATTLER_", "XDG_CACHE", "XDG_CONFIG")
    left = [name for name in os.environ if name.startswith(ours)]

    assert [name for name in left if not name.startswith("ENVFORGE_TEST_")] == []


@pytest.mark.parametrize("address", [("198.51.100.1", 443), ("conda.anaconda.org", 443)])
def test_a_socket_that_leaves_the_machine_is_refused(address: tuple[str, int]) -> None:
    """Before anything is sent: the first address is reserved for documentation (RFC 5737)."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
        pytest.raises(RuntimeError, match="a test tried to reach"),
    ):
        sock.connect(address)


def test_so_are_other_threads() -> None:
    caught: list[BaseException] = []

    def fetch() -> None:
        with socket.socket() as sock:
            try:
                sock.connect(("198.51.100.1", 80))
            except RuntimeError as error:
                caught.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    thread.join()

    assert "198.51.100.1" in str(caught[0])


def test_loopback_is_allowed() -> None:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        accepted.close()


def test_event_loops_are_held_too_and_still_work() -> None:
    async def fetch() -> None:
        await asyncio.open_connection("198.51.100.1", 443)

    with pytest.raises(RuntimeError, match="a test tried to reach"):
        asyncio.run(fetch())
