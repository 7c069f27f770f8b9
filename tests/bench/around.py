"""Around the environment: `python tests/bench/around.py [--quick]`.

What entering an environment adds to a shell, beside the start of a bare Python, which conda's own
`activate` needs as well; and `envforge report` on 20 environments, beside a Python that has
rattler read their locks.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from _lock_pairs import write_locks
from _measure import Report, alternate, clean_environment, ratio, run

from envforge.adapters.activation.activation_files import script_files

HOOK_GOAL, REPORT_GOAL = 3.0, 2.0
ENVIRONMENTS = 20
READ = "import sys, rattler\nfor path in sys.argv[1:]: rattler.LockFile.from_path(path)"
PAGE = "from envforge.cli import main; main(['report', '-o', 'page', '--envs', 'envs'])"


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 15")
    rounds = 5 if parser.parse_args().quick else 15
    report = Report("Around the environment")
    with tempfile.TemporaryDirectory() as scratch:
        _entering(report, Path(scratch), rounds)
        _page(report, Path(scratch), rounds)
    return report.finish()


def _entering(report: Report, scratch: Path, rounds: int) -> None:
    prefix = scratch / "prefix"
    views = str(scratch / "views")
    for name, text in script_files(name="bench", views=views, threads="auto", flat="no").items():
        (prefix / name).parent.mkdir(parents=True, exist_ok=True)
        (prefix / name).write_text(text, encoding="utf-8")
    env = clean_environment(scratch / "home") | {"CONDA_PREFIX": str(prefix)}
    hook = f'. {prefix}/etc/conda/activate.d/envforge.sh; printf %s "$TRITON_CACHE_DIR"'
    a, b = alternate(
        lambda: run(["sh", "-c", hook], env),
        lambda: run([sys.executable, "-I", "-S", "-c", "pass"], env),
        rounds,
    )
    report.claim("it names a folder for compiled code", Path(a[0].output).is_dir())
    report.rows.append(ratio("the hook that conda activate runs / a bare Python", a, b, HOOK_GOAL))


def _page(report: Report, scratch: Path, rounds: int) -> None:
    lock, _, _ = write_locks(scratch)
    locks = []
    for number in range(ENVIRONMENTS):
        folder = scratch / "envs" / f"bench{number}-torch27-cpu"
        folder.mkdir(parents=True)
        spec = f"name: {folder.name}\nchannels: [conda-forge]\ndependencies: [python]\n"
        (folder / "environment.yml").write_text(spec, encoding="utf-8")
        locks.append(Path(shutil.copy(lock, folder / "conda-lock.yml")))
    env = clean_environment(scratch / "home")
    a, b = alternate(
        lambda: run([sys.executable, "-c", PAGE], env, scratch),
        lambda: run([sys.executable, "-c", READ, *locks], env, scratch),
        rounds,
    )
    page = (scratch / "page" / "index.html").read_text(encoding="utf-8")
    report.claim(f"the page shows {ENVIRONMENTS} environments", page.count("bench") >= ENVIRONMENTS)
    what = f"envforge report / rattler's LockFile.from_path, {ENVIRONMENTS} locks"
    report.rows.append(ratio(what, a, b, REPORT_GOAL))


if __name__ == "__main__":
    sys.exit(main())
