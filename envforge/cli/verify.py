"""`envforge verify`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.cli.rendering import render_report
from envforge.cli.rendering.plain_text import echo
from envforge.model.finding import LEVELS, Level

if TYPE_CHECKING:
    from envforge.forge import Forge
    from envforge.model.finding import Report

_PATH = click.Path(path_type=Path, readable=False)
"""Whether it can be read is told in our own words."""
_FILE = click.Path(path_type=Path)


def _ids(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """Ids one by one or with commas between them; an empty one is a variable that was not set."""
    split = [name.strip() for value in values for name in value.split(",")]
    if not all(split):
        raise click.BadParameter("an id is empty", ctx, param)
    return tuple(dict.fromkeys(split))


@click.command()
@options.environment_argument(required=False)
@click.option("--prefix", type=_PATH, help="Where ENV is; alone, any conda or virtual environment.")
@click.option("--python", metavar="EXE", help="Any interpreter, conda's or not.")
@click.option("--lock", type=_PATH, help="A conda-lock.yml, whoever wrote it: will it run here?")
@click.option("--host", is_flag=True, help="The machine alone.")
@click.option("--driver", metavar="V", help="Judge for this driver instead of this machine's.")
@click.option("--gpu", "gpus", metavar="NAME", multiple=True, help="... and this GPU, H200.")
@click.option("--level", type=click.Choice(LEVELS), help="How deep. [as deep as possible]")
@click.option(
    "--check", "only", metavar="ID", multiple=True, callback=_ids, help="Only this check."
)
@click.option("--skip", metavar="ID", multiple=True, callback=_ids, help="Without this check.")
@click.option("--require-gpu", is_flag=True, help="Fail when no GPU can be tried.")
@click.option("--hashes", is_flag=True, help="Read every file, and compare its hash.")
@click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds a probe.")
@click.option("--list", "list_checks", is_flag=True, help="Show the table of checks.")
@options.json_option
@click.option("--report", "to_paste", is_flag=True, help="A text for a bug report, names removed.")
@click.option("--output", type=_FILE, metavar="FILE", help="Write the answer there. [stdout]")
@click.option("--junit", type=_FILE, metavar="FILE", help="Write JUnit XML as well.")
@click.option("--github", is_flag=True, help="Annotate a run of GitHub Actions as well.")
@options.forge_options
@click.pass_context
def command(
    ctx: click.Context,
    forge: Forge,
    *,
    env: str | None,
    prefix: Path | None,
    python: str | None,
    lock: Path | None,
    host: bool,
    driver: str | None,
    gpus: tuple[str, ...],
    level: Level | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    require_gpu: bool,
    hashes: bool,
    timeout: float,
    list_checks: bool,
    as_json: bool,
    to_paste: bool,
    output: Path | None,
    junit: Path | None,
    github: bool,
) -> None:
    """Say what is wrong, with the command that mends it, and prove what works.

    Without ENV and its like: all environments in --envs that are installed. Exit status 1
    when there is a problem; a check that crashed, and one asked for with --check that could
    not look, are problems.
    """
    if list_checks:
        render_report.show_checks(forge.checks(), as_json=as_json)
        return
    if as_json and to_paste:
        raise click.UsageError(
            "--json and --report are two forms of one answer: leave one out.", ctx
        )
    reports = forge.verify(
        env,
        prefix=prefix,
        python=python,
        lock=lock,
        host=host,
        driver=driver,
        gpus=gpus,
        level=level,
        only=only,
        skip=skip,
        require_gpu=require_gpu,
        timeout=timeout,
        hashes=hashes,
    )
    _answer(forge, reports, as_json=as_json, to_paste=to_paste, output=output, github=github)
    if junit is not None:
        from envforge.cli.rendering.report_junit import as_junit

        render_report.write(junit, as_junit(reports))
    if github:
        _tell_github(forge, reports, err=as_json or output is not None)
    if not all(report.passed for report in reports):
        ctx.exit(1)


def _answer(
    forge: Forge,
    reports: Sequence[Report],
    *,
    as_json: bool,
    to_paste: bool,
    output: Path | None,
    github: bool,
) -> None:
    verbose = click.get_current_context().params.get("verbose", 0) > 0
    if as_json:
        text = render_report.json_of(reports)
    elif to_paste:
        text = _paste(forge, reports)
    else:
        text = render_report.text_of(reports, verbose=verbose, plain=output is not None)
    if output is not None:
        render_report.write(output, f"{text.rstrip()}\n")
    elif github and not as_json:
        from envforge.cli.rendering.report_github import fenced

        echo(fenced(text))
    else:
        echo(text.rstrip("\n"))


def _paste(forge: Forge, reports: Sequence[Report]) -> str:
    from envforge.adapters.machine.system_facts import system_facts, user_and_host
    from envforge.cli.redaction import private_things
    from envforge.cli.rendering.report_paste import as_paste

    settings = forge.settings
    user, host = user_and_host()
    private = private_things(settings.environment, home=str(settings.home), user=user, host=host)
    return as_paste(reports, private, system_facts(settings.host_root))


def _tell_github(forge: Forge, reports: Iterable[Report], *, err: bool) -> None:
    from envforge.cli.rendering.report_github import summary, workflow_commands

    told = tuple(reports)
    for line in workflow_commands(told):
        echo(line, err=err)
    path = forge.settings.environment.get("GITHUB_STEP_SUMMARY")
    if path:
        render_report.append(Path(path), summary(told))
