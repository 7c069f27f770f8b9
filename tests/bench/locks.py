"""Locks of three platforms x 333 packages: `python tests/bench/locks.py [--quick]`.

`envforge check` and `envforge diff` against a Python that has rattler read such a lock, and our
reader against conda-lock's own parser.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

from _lock_pairs import write_locks
from _measure import Report, Row, alternate, clean_environment, ratio, run

CHECK_GOAL, DIFF_GOAL, READ_GOAL = 2.0, 3.0, 10.0
READ = "import rattler; rattler.LockFile.from_path({!r})"
CHECK = "from envforge.cli import main; main(['check', {!r}])"
# `diff` ends with 1 where something moved, which is what is measured here.
DIFF = """
import os
import envforge.cli as cli
cli.leave = lambda status: os._exit(status != 1)
cli.main(['diff', {!r}, {!r}])
"""


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15")
    rounds = 5 if parser.parse_args().quick else 15
    report = Report("Locks of three platforms, 999 packages")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        env = clean_environment(folder / "home") | {"PYTHONPYCACHEPREFIX": str(folder / "pyc")}
        first, third, everything = map(str, write_locks(folder))

        def against_rattler(what: str, program: str, goal: float | None) -> None:
            a, b = alternate(
                lambda: run([sys.executable, "-c", program], env, folder),
                lambda: run([sys.executable, "-c", READ.format(first)], env, folder),
                rounds,
            )
            report.rows.append(ratio(f"{what} / rattler's LockFile.from_path", a, b, goal))

        against_rattler("envforge check", CHECK.format(first), CHECK_GOAL)
        against_rattler("envforge diff, a third moved", DIFF.format(first, third), DIFF_GOAL)
        against_rattler("envforge diff, all moved", DIFF.format(first, everything), None)
        _reading(report, Path(first), rounds)
    return report.finish()


def _reading(report: Report, path: Path, rounds: int) -> None:
    """In one process, after each parser has read the file once."""
    what = "conda-lock's parser / our reader"
    if importlib.util.find_spec("conda_lock") is None:
        report.skip(what, "conda-lock is not installed")
        return
    import warnings

    from envforge.formats.conda_lock import conda_lock_yml

    warnings.simplefilter("ignore")
    from conda_lock.lockfile import parse_conda_lock_file

    text = path.read_text(encoding="utf-8")
    theirs, ours = [], []
    for number in range(rounds + 1):
        pair = (_seconds(lambda: parse_conda_lock_file(path)), _seconds(lambda: _read(text)))
        if number:
            theirs.append(pair[0])
            ours.append(pair[1])
    values = tuple(one / other for one, other in zip(theirs, ours, strict=True))
    detail = f"{sorted(theirs)[rounds // 2]:.3f} and {sorted(ours)[rounds // 2]:.3f} s"
    report.rows.append(Row(what, values, READ_GOAL, at_least=True, detail=detail))
    same = {
        (item.name, item.version, item.platform, item.hash.sha256)
        for item in parse_conda_lock_file(path).package
    } == {
        (item.name, item.version, item.platform, item.sha256)
        for item in conda_lock_yml.read(text, str(path)).packages
    }
    report.claim("both read the same packages", same)


def _read(text: str) -> None:
    from envforge.formats.conda_lock import conda_lock_yml

    conda_lock_yml.read(text, "conda-lock.yml")


def _seconds(action) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
