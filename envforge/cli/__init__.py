"""The command line. Commands live one in a module and are imported when they are called.

The table below holds what `envforge --help` shows, so that help imports no command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, ClassVar, Final, NoReturn

import click

from envforge import __version__
from envforge.cli.command_table import TableGroup
from envforge.errors import EnvforgeError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "create": ("Main job", "Lock, install and verify an environment, in one go."),
    "lock": ("Main job", "Write environment.yml and conda-lock.yml; install nothing."),
    "install": ("Main job", "Make a prefix equal to a lock."),
    "verify": ("Main job", "Check that an environment is as locked and works here."),
    "add": ("Environments", "Add packages to an environment, and lock it again."),
    "list": ("Environments", "List the environments and how far they are."),
    "show": ("Environments", "Show what an environment is locked to."),
    "run": ("Environments", "Run a command in an environment."),
    "activate": ("Environments", "Print shell code that activates an environment."),
    "env": ("Environments", "Explain each variable that activation sets; choose presets."),
    "remove": ("Environments", "Remove an installed environment."),
    "adopt": ("Locks", "Make an environment of another tool's file, or of a live prefix."),
    "check": ("Locks", "Say in milliseconds whether locks are current and sound."),
    "update": ("Locks", "Move some packages, or all, and as little else as can be."),
    "diff": ("Locks", "Show what moved from one lock to another."),
    "git": ("Locks", "Make git show and merge locks by their packages."),
    "export": ("Locks", "Write an environment for other tools, or as an SBOM."),
    "pack": ("Locks", "Put environments into one file, for machines without a network."),
    "unpack": ("Locks", "Verify such a file, and fill caches, store and folders from it."),
    "rollback": ("Locks", "Lead a published environment back to an older version."),
    "cache": ("Models", "Pin, fetch, share and clean up model files."),
    "bench": ("Around", "Time small models in an environment, alone or beside another."),
    "report": ("Around", "Write a page that shows environments, locks and disk at a glance."),
    "doctor": ("Around", "Say what is wrong with this server, for all who work on it."),
    "gpu": ("Around", "Show who holds GPU memory without using it, and what is cached."),
    "matrix": ("Knowledge", "Show which torch and CUDA exist, and which run here."),
    "explain": ("Knowledge", "Say what a check of verify looks at, and what mends it."),
    "templates": ("Knowledge", "List the environments to start from."),
    "completion": ("Knowledge", "Print shell code that completes commands."),
}
"""Command name to its section and short help; `cli/<name>.py` holds the command."""

_BUG: Final = """\
this is a bug in envforge: please report it with the text above and the command that was run"""
_READER_GONE: Final = 141
"""What a shell reports of a program that wrote to a closed pipe: 128 and SIGPIPE."""


class Commands(TableGroup):
    """Turns errors into exit codes."""

    table = COMMANDS
    package = "envforge.cli"
    modules: ClassVar = {"list": "list_"}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click; notes first whether errors are to be JSON, since parsing may be what fails.

        What stands behind `--`, or in a command that `run` is given, is not for us.
        """
        from envforge.cli.failure import AS_JSON

        ours = [*takewhile("--".__ne__, args)]
        ctx.meta[AS_JSON] = "--json" in ours and "run" not in ours[:1]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected failure ends with its exit code."""
        from envforge.cli.failure import show_error, wants_json

        # https://no-color.org; click 8 leaves that, and what a terminal can do, to programs
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            ctx.color = False
        try:
            return super().invoke(ctx)
        except EnvforgeError as error:
            show_error(error)
            ctx.exit(error.exit_code)
        except click.UsageError as error:
            if not wants_json():
                raise
            show_error(error)
            ctx.exit(2)
        except (BrokenPipeError, SystemExit) as error:
            # rich ends the program itself, with the status that says "checks found problems".
            if not isinstance(error, BrokenPipeError) and not isinstance(
                error.__context__, BrokenPipeError
            ):
                raise
            _drop_output()
            ctx.exit(_READER_GONE)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command has its own --help. Exit codes and settings: the README.",
)
@click.version_option(__version__, message="envforge %(version)s")
def cli() -> None:
    """Conda environments for PyTorch: reproducible, on the right GPU build, checked.

    \b
    envforge create nlp-bert --torch 2.0.1 --cuda 11.8
    envforge run nlp-bert-torch20-cu118 -- python train.py
    """  # noqa: D301 - click reads the backspace


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the `envforge` program: never returns."""
    try:
        status = cli.main(args=args, prog_name="envforge", standalone_mode=False)
        leave(status if isinstance(status, int) else 0)
    except (KeyboardInterrupt, click.Abort) as error:
        how_to_go_on = f": {error}" if str(error) else ""
        sys.stderr.write(f"interrupted{how_to_go_on}\n")
        leave(130)
    except click.ClickException as error:
        error.show()
        leave(error.exit_code)
    except OSError as error:
        if not _is_output_refused():
            _report_bug()
        sys.stderr.write(f"error: cannot write the answer: {str(error.strerror).lower()}\n")
        _drop_output()
        leave(7)
    except Exception:  # noqa: BLE001 - the last line of defence: a bug keeps its traceback
        _report_bug()


def _report_bug() -> NoReturn:
    import traceback

    from envforge.formats.text.secret_shapes import hide

    sys.stderr.write(hide(traceback.format_exc()))
    sys.stderr.write(f"error: {_BUG}\n")
    leave(70)


def _is_output_refused() -> bool:
    """Whether it was standard output that failed: it takes no more."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False


def leave(status: int) -> NoReturn:
    """End the process with this status, whatever an engine does at exit.

    py-rattler's runtime aborts the interpreter at exit about once in fifty installs, after
    all work is done (measured with 0.28.0), so once it was loaded, finalisation is left out.
    """
    if "rattler" not in sys.modules:
        raise SystemExit(status)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = status or _READER_GONE
    coverage = sys.modules.get("coverage")
    if coverage is not None:  # a measured run: what it saw is saved at exit, which is left out
        running = coverage.Coverage.current()
        if running is not None:
            running.stop()
            running.save()
    os._exit(status)


def _drop_output() -> None:
    """Nobody reads standard output any more, so flushing it at exit must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
