"""`envforge matrix`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from envforge.cli import options
from envforge.model.cuda import CPU, CudaVersion
from envforge.model.machine import PLATFORMS, Machine
from envforge.model.spec import AUTO

if TYPE_CHECKING:
    from envforge.matrix import Grid
    from envforge.ports import MachineProbe


@click.command()
@click.option("--torch", metavar="V", help="2.0.1, 2.0 (its releases) or latest. [all minors]")
@click.option("--cuda", metavar="V", help="11.8 or cu118, cpu, or auto: the newest that runs here.")
@click.option("--python", metavar="V", help="Only what was built for this Python, 3.11.")
@click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    default="linux-64",
    show_default=True,
    help="Whose builds.",
)
@click.option("--here", is_flag=True, help="Judge by the driver and the GPUs of this machine.")
@click.option("--driver", metavar="V", help="Judge by this driver, 535.104.05.")
@click.option("--gpu", "gpus", metavar="NAME", multiple=True, help="... this GPU. Repeatable.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also draw it: .svg or .png.",
)
@options.json_option
def command(
    *,
    torch: str | None,
    cuda: str | None,
    python: str | None,
    platform: str,
    here: bool,
    driver: str | None,
    gpus: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show which torch and CUDA exist, from which source, and which run on a machine.

    Without --here, --driver or --gpu: only what exists.
    """
    from envforge.cli.rendering import render_matrix

    if here and (driver or gpus):
        raise click.UsageError("--here is this machine; --driver and --gpu describe another one")
    if plot:
        _check_plot(plot)
    grid = run(
        lambda: options.make_forge({}, -1).probe,
        torch=torch,
        cuda=cuda,
        python=python,
        platform=platform,
        here=here or (cuda == AUTO and not driver and not gpus),
        driver=driver,
        gpus=gpus,
    )
    if plot:
        _draw(grid, plot)
        click.echo(f"wrote {plot}", err=True)
    if as_json:
        click.echo(render_matrix.as_json(grid))
    else:
        render_matrix.show(grid)


def _check_plot(path: Path) -> None:
    from envforge.adapters.plot import refuse_undrawable

    refuse_undrawable(path)


def _draw(grid: Grid, path: Path) -> None:
    from envforge.adapters.plot import write_heatmap
    from envforge.cli.rendering.render_matrix import title

    write_heatmap(grid, path, title(grid))


def run(
    probe: Callable[[], MachineProbe],
    *,
    torch: str | None = None,
    cuda: str | None = None,
    python: str | None = None,
    platform: str = "linux-64",
    here: bool = False,
    driver: str | None = None,
    gpus: Sequence[str] = (),
) -> Grid:
    """The grid for what was typed; `probe` is asked only for this machine.

    Raises:
        InvalidValue: a version, GPU or driver that cannot be read.
    """
    from envforge import matrix

    tables = matrix.load()
    machine: Machine | None = None
    if here:
        machine = probe().look()
    elif driver or gpus:
        machine = matrix.described(driver, gpus, tables)
    return matrix.grid(
        tables,
        machine,
        torch=torch,
        cuda=_cuda(cuda),
        python=python,
        platform=platform,
    )


def _cuda(text: str | None) -> CudaVersion | Literal["auto", "cpu"] | None:
    if text is None:
        return None
    if text.lower() == AUTO:
        return "auto"
    return "cpu" if text.lower() == CPU else CudaVersion.parse(text)
