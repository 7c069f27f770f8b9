"""Runs `verify/probe.py` with an environment's own interpreter.

What the answer is made of is imported when it has come: the interpreter starts sooner.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.errors import EnvforgeError, ToolFailed
from envforge.model.finding import Level
from envforge.ports import Completed, Guard, Processes
from envforge.verify.probe_output import END, HERE, find_document

if TYPE_CHECKING:
    from envforge.verify.facts import ProbeFacts

BUILT_ON_TORCH: Final = (
    *("torchvision", "torchaudio", "triton", "xformers.ops", "flash_attn", "bitsandbytes"),
    *("transformers", "accelerate", "peft"),
)
"""Modules that stop importing when torch, CUDA or one another are not of their version."""
_SCRUBBED: Final = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "__PYVENV_LAUNCHER__",
)
"""They would lead the interpreter away from its prefix; that they are set is a host fact."""
_GRACE: Final = 5.0
"""Seconds for the interpreter itself, beside the time that its children have."""
_CHILDREN: Final[Mapping[Level, int]] = {"static": 1, "import": 2, "live": 4}
"""How many times the time of one child all of them have together."""


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
        imports: Sequence[str] = BUILT_ON_TORCH,
        compile_on_cpu: bool = True,
    ) -> ProbeFacts:
        """Run the probe; whatever the interpreter does, the answer is facts.

        `-I` keeps the user's site-packages, the working directory and `PYTHON*` out, so that it
        is the prefix that is tried. `LD_LIBRARY_PATH` stays: it is what programs run with.
        Nothing that the interpreter starts outlives this call.

        Args:
            interpreter: path of the environment's python.
            level: `import` or `live`.
            environment: variables to run with, as `envforge run` would set them.
            timeout: seconds that the interpreter has to start, and each child (the import, each
                device) to end; all children together have four times as much.
            imports: level live: modules to import after torch, those that are there, each in a
                child, which imports torch once more.
            compile_on_cpu: level live, CPU builds: try torch.compile, which takes half a minute.
        """
        variables = {k: v for k, v in environment.items() if k not in _SCRUBBED}
        script = importlib.resources.files("envforge.verify") / "probe.py"
        try:
            with importlib.resources.as_file(script) as path:
                command = [str(interpreter), "-I", str(path), *_options(level, timeout)]
                if level == "live":
                    command += [part for name in imports for part in ("--import", name)]
                    command += [] if compile_on_cpu else ["--compile", "gpu"]
                done = self._processes.run(
                    command,
                    env=variables,
                    timeout=_CHILDREN[level] * timeout + _GRACE,
                    check=False,
                    guard=Guard(first_sign=HERE, within=timeout + _GRACE, last_sign=END),
                )
        except ToolFailed as error:
            return _failed(level, f"{error.status}")
        except (EnvforgeError, OSError, ValueError) as error:  # a NUL in the path, no more memory
            return _failed(level, str(error))
        return _facts(done, level)


def _options(level: Level, timeout: float) -> list[str]:
    together = str(_CHILDREN[level] * timeout)
    options = ["--with-parent", "--timeout", str(timeout), "--deadline", together]
    return ["--level", level, *options]


def _facts(done: Completed, level: Level) -> ProbeFacts:
    from envforge.verify.torch_document import Garbled, probe_facts

    document = find_document(done.stdout)
    if document is None:
        return _failed(level, _why_silent(done))
    try:
        return probe_facts(document, level)
    except Garbled as error:
        return _failed(level, f"its answer makes no sense: {error}")


def _failed(level: Level, failure: str) -> ProbeFacts:
    from envforge.verify.facts import ProbeFacts

    return ProbeFacts(level=level, failure=failure)


def _why_silent(done: Completed) -> str:
    if "-I" in done.stderr and "nknown option" in done.stderr:
        return "it is Python 2, and PyTorch needs 3.6 or newer"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = f": {lines[-1][:300]}" if lines else ""
    if done.status < 0:
        return f"it was ended by signal {-done.status}{said}"
    if done.status:
        return f"it ended with status {done.status}{said}"
    return f"it ended without an answer{said}"
