"""Level import: `python tests/bench/verify_import.py [--quick] --torch-python EXE`.

`envforge verify --python EXE --level import` against `EXE -c "import torch"`, which is the floor:
the machine and the prefix are looked at while the child imports.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from _measure import Report, alternate, clean_environment, ratio, run

GOAL = 1.15
_CHOSEN = "ENVFORGE_TEST_TORCH_PYTHON"


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15")
    parser.add_argument(
        "--torch-python",
        default=os.environ.get(_CHOSEN),
        metavar="EXE",
        help=f"an interpreter that has torch; or the variable {_CHOSEN}",
    )
    options = parser.parse_args()
    report = Report("verify, level import")
    if options.torch_python is None:
        report.skip("envforge verify / import torch", "no interpreter with torch was named")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            _compare(report, options.torch_python, Path(scratch), 5 if options.quick else 15)
    return report.finish()


def _compare(report: Report, python: str, scratch: Path, rounds: int) -> None:
    env = clean_environment(scratch / "home")
    verify = [sys.executable, "-c", "from envforge.cli import main; main()", "verify"]
    ours = [*verify, "--python", python, "--level", "import"]
    floor = [python, "-c", "import torch"]
    a, b = alternate(lambda: run(ours, env, scratch), lambda: run(floor, env, scratch), rounds)
    seen = all("imported" in item.output for item in a)
    report.claim("torch was imported, and told by its version", seen)
    report.rows.append(ratio('verify --level import / python -c "import torch"', a, b, GOAL))


if __name__ == "__main__":
    raise SystemExit(main())
