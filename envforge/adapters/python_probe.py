"""Runs `verify/probe.py` with an environment's own interpreter."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from envforge.errors import EnvforgeError, ToolFailed
from envforge.model.finding import Level
from envforge.ports import Completed, Processes
from envforge.verify.facts import ProbeFacts
from envforge.verify.probe_document import find_document, probe_facts

_SCRUBBED: Final = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "__PYVENV_LAUNCHER__",
)
"""They would lead the interpreter away from its prefix; that they are set is a host fact."""
_GRACE: Final = 15.0
"""Seconds for the interpreter itself, beside the time that its children have."""


class PythonProbe:
    """Asks an interpreter what it makes of torch and the GPUs."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def run(
        self,
        interpreter: str | Path,
        *,
        level: Level,
        environment: Mapping[str, str],
        timeout: float,
    ) -> ProbeFacts:
        """Run the probe; whatever the interpreter does, the answer is facts.

        `-I` keeps the user's site-packages, the working directory and `PYTHON*` out, so that it
        is the prefix that is tried. `LD_LIBRARY_PATH` stays: it is what programs run with.

        Args:
            interpreter: path of the environment's python.
            level: `import` or `live`.
            environment: variables to run with, as `envforge run` would set them.
            timeout: seconds for each child: the import, and each device.
        """
        variables = {k: v for k, v in environment.items() if k not in _SCRUBBED}
        limits = ["--timeout", str(timeout), "--deadline", str(4 * timeout)]
        script = importlib.resources.files("envforge.verify") / "probe.py"
        try:
            with importlib.resources.as_file(script) as path:
                done = self._processes.run(
                    [str(interpreter), "-I", str(path), "--level", level, *limits],
                    env=variables,
                    timeout=4 * timeout + _GRACE,
                    check=False,
                )
        except ToolFailed as error:
            return ProbeFacts(level=level, failure=f"{error.status}")
        except EnvforgeError as error:
            return ProbeFacts(level=level, failure=str(error))
        document = find_document(done.stdout)
        if document is None:
            return ProbeFacts(level=level, failure=_why_silent(done))
        return probe_facts(document, level)


def _why_silent(done: Completed) -> str:
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = f": {lines[-1][:300]}" if lines else ""
    if done.status < 0:
        return f"it was ended by signal {-done.status}{said}"
    if done.status:
        return f"it ended with status {done.status}{said}"
    return f"it ended without an answer{said}"
