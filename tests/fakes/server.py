"""What a server without any fault looks like to `doctor`, and who holds memory of a GPU."""

from __future__ import annotations

from typing import Any

from fakes.disk import place

from envforge.around.server.server_facts import (
    CACHE,
    ENVIRONMENTS,
    HOME,
    OWN,
    TEMPORARY,
    Address,
    PackageCache,
    ServerFacts,
    Spot,
)
from envforge.model.gpu_memory import AllocatorMemory, GpuMemory, Holder, ProcessFacts

GIB = 2**30


def spot(name: str = HOME, **given: Any) -> Spot:
    """A folder; what is no field of `Spot` is one of its place."""
    own = {key: given.pop(key) for key in ("quota_bytes", "quota_files") if key in given}
    mode = 0o1777 if name == TEMPORARY else 0o755
    about = {"path": f"/srv/{name}", "mode": mode, **given}
    return Spot(name=name, place=place(**about), **own)


def package_cache(**given: Any) -> PackageCache:
    """One that is in use and holds three packages; likewise."""
    fields = {key: given.pop(key) for key in list(given) if key in PackageCache.__slots__}
    return PackageCache(
        **{"place": place("/srv/pkgs", **given), "is_ours": True, "packages": 3, **fields}
    )


def address(name: str = "conda-forge", **given: Any) -> Address:
    """A channel that answers."""
    about = {"kind": "channel", "url": f"https://conda.example/{name}", "milliseconds": 80.0}
    return Address(name=name, **{**about, "clock_ahead": 0.3, **given})


def server(**given: Any) -> ServerFacts:
    """All is well."""
    about: dict[str, Any] = {
        "spots": tuple(map(spot, (HOME, ENVIRONMENTS, CACHE, OWN, TEMPORARY))),
        "caches": (package_cache(),),
        "addresses": (
            address(),
            address("pypi", kind="wheel index"),
            address("hub", kind="hub"),
        ),
        "uid": 1000,
        "umask": 0o022,
        "login_umask": 0o022,
        "protected_hardlinks": True,
        "clock_kept": True,
    }
    return ServerFacts(**{**about, **given})


def replaced(name: str, **given: Any) -> dict[str, Any]:
    """`server(**replaced("home", free_bytes=0))`: one spot is otherwise."""
    names = (HOME, ENVIRONMENTS, CACHE, OWN, TEMPORARY)
    return {"spots": tuple(spot(item, **given) if item == name else spot(item) for item in names)}


def process(pid: int = 4242, **given: Any) -> ProcessFacts:
    """Ann's training, which sleeps."""
    about = {"uid": 1001, "user": "ann", "program": "python train.py", "age": 7200.0, "cpu": 0.0}
    return ProcessFacts(pid=pid, **{**about, **given})


def holder(pid: int = 4242, gib: float | None = 10, **given: Any) -> Holder:
    """A process with so much memory, at work."""
    about = {"use": "busy", "percent": 50, "process": process(pid)}
    memory = None if gib is None else int(gib * GIB)
    return Holder(pid=pid, memory_bytes=memory, **{**about, **given})


def gpu(*holders: Holder, **given: Any) -> GpuMemory:
    """An H200 on which all that is used belongs to these."""
    used = sum(item.memory_bytes or 0 for item in holders)
    about = {
        "index": 0,
        "name": "NVIDIA H200",
        "uuid": "GPU-8932f937",
        "total": 140 * GIB,
        "free": 140 * GIB - used - GIB // 2,
        "driver_reserved": GIB // 2,
        "busy": 50,
    }
    return GpuMemory(holders=holders, **{**about, **given})


def allocator(
    allocated: float, reserved: float, releasable: float, **given: Any
) -> AllocatorMemory:
    """In GiB."""
    about = {"device": 0, "uuid": "GPU-8932f937", **given}
    amounts = {"allocated": allocated, "reserved": reserved, "releasable": releasable}
    return AllocatorMemory(**about, **{key: int(part * GIB) for key, part in amounts.items()})
