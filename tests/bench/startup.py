"""Start-up: `python tests/bench/startup.py [--quick]`.

`envforge --help` against a bare click group with as many commands, and what
`import envforge` pulls in.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from _measure import Report, alternate, clean_environment, ratio, run

HEAVY = ("rattler", "pydantic", "conda_lock", "rich", "huggingface_hub")
HELP_GOAL = 1.5

BARE_GROUP = '''\
"""A click group that does nothing."""
import click


@click.group()
def cli():
    """A group."""

{commands}

def main():
    cli()
'''
BARE_COMMAND = '''
@cli.command({name!r})
def command_{number}():
    """{help}"""
'''


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 25")
    rounds = 5 if parser.parse_args().quick else 25
    report = Report("Start-up")
    with tempfile.TemporaryDirectory() as scratch:
        _help(report, Path(scratch), rounds)
        for what, program in (
            ("import envforge", "import envforge"),
            ("from envforge import Forge", "from envforge import Forge"),
            (
                "envforge --help",
                "from envforge.cli import cli; cli(['--help'], standalone_mode=False)",
            ),
        ):
            _imports(report, Path(scratch), what, program)
    return report.finish()


def _help(report: Report, scratch: Path, rounds: int) -> None:
    from envforge.cli import COMMANDS

    commands = "".join(
        BARE_COMMAND.format(name=name, number=number, help=text)
        for number, (name, (_, text)) in enumerate(COMMANDS.items())
    )
    (scratch / "bare_group.py").write_text(BARE_GROUP.format(commands=commands), encoding="utf-8")
    env = clean_environment(scratch / "home") | {"PYTHONPATH": str(scratch)}
    program = "import sys; from {} import main; sys.exit(main())"
    ours = [sys.executable, "-c", program.format("envforge.cli"), "--help"]
    bare = [sys.executable, "-c", program.format("bare_group"), "--help"]
    a, b = alternate(lambda: run(ours, env), lambda: run(bare, env), rounds)
    shown = all(name in a[0].output and name in b[0].output for name in COMMANDS)
    report.claim(f"both helps list {len(COMMANDS)} commands", shown)
    report.rows.append(ratio("envforge --help / bare click group", a, b, HELP_GOAL))


def _imports(report: Report, scratch: Path, what: str, program: str) -> None:
    code = (
        f"import json, sys\n{program}\n"
        f"print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    )
    output = run([sys.executable, "-c", code], clean_environment(scratch / "home")).output
    loaded = set(json.loads(output.splitlines()[-1]))
    pulled_in = [name for name in HEAVY if name in loaded]
    report.claim(
        f"{what} loads none of {len(HEAVY)} heavy packages", not pulled_in, str(pulled_in or "")
    )


if __name__ == "__main__":
    sys.exit(main())
