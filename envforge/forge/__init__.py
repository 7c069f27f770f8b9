"""The front door: hands adapters to use cases, one method a task.

| place | what is there |
|---|---|
| `solving/` | From what was asked for to a lock |
| `prefixes/` | From a lock to a prefix, and into it |
| `judging/` | `verify`: what was named is found, looked at and judged |
| `locks/` | What is done with locks that are there, whoever wrote them |
| `packs/` | Environments as one file, there and back |
| `adopting/` | another tool's environment becomes a folder of ours |
| `caching/` | the shared models: `ModelCache` |
| `front.py`, `workplace.py` | `Forge`; what its use cases work with |
| `creating.py` | all of it in a row |
"""

from __future__ import annotations

from envforge.forge.front import Forge

__all__ = ["Forge"]
