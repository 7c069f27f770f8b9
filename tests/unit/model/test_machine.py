"""The machine an environment is for."""

from __future__ import annotations

from envforge.model.machine import CUDA_PLATFORMS, PLATFORMS, Driver, Machine


def test_a_driver_makes_a_gpu_machine() -> None:
    """Its GPUs may be hidden, or unknown on a login node."""
    assert not Machine().has_gpu
    assert Machine(driver=Driver(version="535.104.05")).has_gpu


def test_cuda_platforms_are_platforms() -> None:
    assert set(CUDA_PLATFORMS) < set(PLATFORMS)
