"""`envforge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from envforge.cli import options
from envforge.model.bench import CASES, MODES, Size

if TYPE_CHECKING:
    from envforge.forge import Forge

_FILE = click.Path(path_type=Path)


@click.command()
@options.environment_argument(required=False)
@options.installed_prefix_option
@click.option("--python", metavar="EXE", help="Any interpreter with torch, instead of ENV.")
@click.option(
    "--against",
    metavar="ENV2",
    shell_complete=options.complete_environment,
    help="Measure this one in turns with it.",
)
@click.option("--against-python", metavar="EXE", help="... or this interpreter.")
@click.option(
    "--case", "cases", type=click.Choice(CASES), multiple=True, help="Only this. Repeatable."
)
@click.option("--mode", "modes", type=click.Choice(MODES), multiple=True, help="Only this.")
@click.option("--device", metavar="D", default="auto", help="cpu or cuda:0. [a GPU if there is]")
@click.option(
    "--size",
    type=click.Choice(["full", "tiny"]),
    default="full",
    show_default=True,
    help="Of the models; tiny says that it runs, and little of speed.",
)
@click.option("--batch", type=int, default=1, show_default=True, help="Images or texts a call.")
@click.option("--threads", type=int, default=0, help="Of torch. [as torch decides]")
@click.option(
    "--threshold",
    type=float,
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="The smallest difference that matters.",
)
@click.option("--rounds", type=int, default=20, show_default=True, help="At most so many.")
@click.option(
    "--time-limit", type=float, default=900.0, show_default=True, help="Seconds for all rounds."
)
@click.option(
    "--timeout", type=float, default=600.0, show_default=True, help="Seconds for one answer."
)
@click.option("--load-from", type=_FILE, metavar="DIR", help="Disk that weights are loaded from.")
@click.option("--save", type=_FILE, metavar="FILE", help="Write the result, for --baseline.")
@click.option("--baseline", type=_FILE, metavar="FILE", help="Compare with a saved result.")
@click.option("--plot", type=_FILE, metavar="FILE", help="Draw it, as .svg or .png.")
@options.json_option
@options.forge_options
@click.pass_context
def command(
    ctx: click.Context,
    forge: Forge,
    *,
    env: str | None,
    prefix: Path | None,
    python: str | None,
    against: str | None,
    against_python: str | None,
    cases: tuple[str, ...],
    modes: tuple[str, ...],
    device: str,
    size: Size,
    batch: int,
    threads: int,
    threshold: float,
    rounds: int,
    time_limit: float,
    timeout: float,
    load_from: Path | None,
    save: Path | None,
    baseline: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Time small models in ENV: latency, throughput and cold start.

    With --against, both are measured in turns, and what differs is told with its interval.
    Exit status 1 when a case failed, or is slower than in --baseline. Nothing is fetched.
    """
    from envforge.cli.rendering import render_bench

    if plot is not None:
        from envforge.adapters.files import refuse_unwritable
        from envforge.adapters.plot import refuse_undrawable

        refuse_undrawable(plot)
        refuse_unwritable(plot)
    result = forge.bench(
        env,
        prefix=prefix,
        python=python,
        against=against,
        against_python=against_python,
        cases=cases,
        modes=modes,
        device=device,
        size=size,
        batch=batch,
        threads=threads,
        threshold=threshold / 100,
        rounds=rounds,
        time_limit=time_limit,
        timeout=timeout,
        load_from=load_from,
        baseline=baseline,
        save=save,
    )
    if plot is not None:
        from envforge.adapters.plot_bench import write_bench

        write_bench(result, plot)
    render_bench.show(result, as_json=as_json)
    if not result.passed:
        ctx.exit(1)
