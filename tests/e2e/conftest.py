"""Channels made once for all workers of a run, and a place of its own for every test."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.wheel_world import WheelWorld, build_wheels
from e2e.world import Place, World, build_world, describe
from fakes.channel_server import ChannelServer, serve
from fakes.local_channel import LocalChannel


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "e2e"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def world(shared: Path, local_channel: LocalChannel) -> World:
    """The channels."""
    if sys.version_info >= (3, 13):
        pytest.skip("the pytorch channel ended before Python 3.13, which these channels hold")
    root = made_once(shared / "channels", lambda aside: build_world(aside, local_channel))
    return describe(root, local_channel)


@pytest.fixture(scope="session")
def wheels(shared: Path) -> WheelWorld:
    """The package indexes."""
    return WheelWorld(made_once(shared / "wheels", build_wheels))


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, made by whichever worker comes first."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            aside = folder.with_suffix(".making")
            shutil.rmtree(aside, ignore_errors=True)
            make(aside)
            aside.rename(folder)
    return folder


@pytest.fixture
def place(tmp_path: Path, world: World, shared: Path) -> Place:
    """A person's own folder."""
    return Place.beside(tmp_path, world, shared)


@pytest.fixture(scope="session")
def settled(
    tmp_path_factory: pytest.TempPathFactory, world: World, shared: Path
) -> tuple[Place, str]:
    """A place with one environment, which nobody changes."""
    place = Place.beside(tmp_path_factory.mktemp("settled"), world, shared)
    return place, place.created(world.pytorch_cuda, "settled")


@pytest.fixture
def server(world: World) -> Iterator[ChannelServer]:
    """The channels over loopback HTTP, with faults."""
    with serve(world.root) as state:
        yield state
