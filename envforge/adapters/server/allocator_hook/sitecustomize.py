"""Lets a program tell `envforge gpu` what its allocator holds; put on PYTHONPATH to ask for it.

Nothing happens until the program first uses CUDA: then a thread waits on a socket (abstract, so
no file is left behind) and answers the program's own user and root. Standard library, Python 3.8.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import struct
import sys
import threading
from importlib.machinery import PathFinder
from typing import Any

ADDRESS = "\0envforge-allocator-%d"
SCHEMA = "envforge.allocator/1"
_HERE = os.path.dirname(os.path.abspath(__file__))
_COUNTERS = {
    "peak_allocated": "allocated_bytes.all.peak",
    "peak_reserved": "reserved_bytes.all.peak",
    "retries": "num_alloc_retries",
}


def give_way() -> None:
    """Run the sitecustomize that would have been found without this one."""
    others = [folder for folder in sys.path if os.path.abspath(folder or ".") != _HERE]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module  # who imports it by this name means that one
        spec.loader.exec_module(module)


class AfterTorchCuda:
    """Finds `torch.cuda` as anybody would, and asks to be told when CUDA is first used."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """See `importlib.abc.MetaPathFinder`."""
        if name != "torch.cuda":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                load(module)
                later = getattr(module, "_lazy_call", None)
                if later is not None:
                    later(start)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def start() -> None:
    """Begin to answer; a program goes on as it would where that cannot be."""
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(ADDRESS % os.getpid())
        listener.listen(4)
    except OSError as error:
        sys.stderr.write("envforge: gpu memory is not told: %s\n" % error)
        return
    threading.Thread(target=serve, args=(listener,), name="envforge-gpu", daemon=True).start()
    if hasattr(os, "register_at_fork"):  # a child has no such thread, and is not this process
        os.register_at_fork(after_in_child=listener.close)


def serve(listener: socket.socket) -> None:
    """One answer for each who asks and may know."""
    while True:
        try:
            asker, _ = listener.accept()
        except OSError:  # the program ends
            return
        with asker:
            try:
                asker.settimeout(5)
                if may_know(asker):
                    asker.sendall(json.dumps(answer()).encode("ascii") + b"\n")
            except OSError:
                continue  # it has gone away
            except Exception as error:
                sys.stderr.write("envforge: gpu memory is not told: %s\n" % error)


def may_know(asker: socket.socket) -> bool:
    """Whether it is this program's own user, or root."""
    told = asker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", told)[1] in {0, os.getuid()}


def answer() -> Any:
    """What torch tells now."""
    import torch

    try:
        segments = torch.cuda.memory_snapshot(include_traces=False)
    except TypeError:  # an older torch, which has no such argument
        segments = torch.cuda.memory_snapshot()
    totals = allocator_memory().summed(segments)
    devices = []
    for index, found in sorted(totals.items()):
        stats = torch.cuda.memory_stats(index)
        told = {key: int(stats.get(name, 0)) for key, name in _COUNTERS.items()}
        devices.append({"device": index, "uuid": uuid_of(torch, index), **found, **told})
    return {"schema": SCHEMA, "torch": str(torch.__version__), "devices": devices}


def uuid_of(torch: Any, index: int) -> str | None:
    """`GPU-…`; None: this torch does not tell (before 2.4)."""
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return None if uuid is None else "GPU-%s" % uuid


def allocator_memory() -> Any:
    """That module of the envforge which put us here; the program itself may have another."""
    path = os.path.join(_HERE, "..", "..", "..", "around", "server", "allocator_memory.py")
    spec = importlib.util.spec_from_file_location("_envforge_allocator_memory", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


give_way()
if sys.platform.startswith("linux"):
    sys.meta_path.insert(0, AfterTorchCuda())
