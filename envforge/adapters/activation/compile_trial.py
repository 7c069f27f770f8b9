"""A small function, compiled in a fresh process by an environment's own torch: hit or miss?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.formats.text import json_text
from envforge.ports import Processes

_SECONDS: Final = 600.0
_PROGRAM: Final = """
import json, os, time
import torch
said = {"place": os.environ.get("TORCHINDUCTOR_CACHE_DIR", ""), "hits": 0, "misses": 0}
if not hasattr(torch, "compile"):
    said["skipped"] = "torch %s has no torch.compile" % torch.__version__
else:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    begun = time.monotonic()
    given = torch.linspace(0.0, 0.9, 4096, device=device)
    torch.compile(lambda x: torch.sin(x) * 2.0 + torch.cos(x), fullgraph=True)(given).sum().item()
    said["seconds"] = round(time.monotonic() - begun, 2)
    from torch._dynamo.utils import counters
    for group in ("inductor", "aot_autograd"):
        for name, number in dict(counters.get(group) or {}).items():
            if name.endswith("cache_hit"):
                said["hits"] += number
            elif name.endswith("cache_miss"):
                said["misses"] += number
print("\\n" + json.dumps(said), flush=True)
os._exit(0)
"""
"""`os._exit`: what else has hooks that run at exit may hang there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the process said of itself."""

    hits: int = 0
    misses: int = 0
    seconds: float = 0.0
    place: str = ""
    skipped: str = ""


def tell(python: Path, environment: Mapping[str, str], processes: Processes) -> Told:
    """Compile, with these variables.

    Raises:
        ToolFailed: torch, or its compiler, does not work; `verify` says why.
    """
    done = processes.run(
        [str(python), "-I", "-c", _PROGRAM],
        env={**environment, "TORCHINDUCTOR_COMPILE_THREADS": "1"},
        timeout=_SECONDS,
    )
    try:
        said = json_text.parse(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        return Told(skipped="the process said nothing that could be read")
    return Told(
        hits=int(said.get("hits", 0)),
        misses=int(said.get("misses", 0)),
        seconds=float(said.get("seconds", 0.0)),
        place=str(said.get("place", "")),
        skipped=str(said.get("skipped", "")),
    )
