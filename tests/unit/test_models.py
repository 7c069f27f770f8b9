"""The public module for programs imports nothing heavy until it is called."""

from __future__ import annotations

import json
import subprocess
import sys


def test_importing_it_loads_no_client_of_the_hub() -> None:
    ask = "import json, sys; from envforge import models; print(json.dumps(sorted(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True
    )

    modules = set(json.loads(done.stdout))
    assert "envforge.models" in modules
    assert not modules & {"huggingface_hub", "click", "envforge.forge", "rattler"}
