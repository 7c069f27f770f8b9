"""Options that several commands share, and how they become a `Forge`."""

from __future__ import annotations

import functools
import logging
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from envforge.cli.failure import PLACES, STORE
from envforge.errors import EnvforgeError
from envforge.formats.text.secret_shapes import hide
from envforge.model.machine import PLATFORMS
from envforge.model.spec import SOURCES

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from envforge.forge import Forge

F = TypeVar("F", bound=Callable[..., Any])


def forge_options(function: F) -> F:
    """Add `--envs`, `--mirror`, `--offline`, `-q`, `-v`; call with `forge` as first argument."""

    @click.option(
        "--envs", type=click.Path(path_type=Path), help="Folder of the environments. [./envs]"
    )
    @click.option("--mirror", metavar="ROOT", help="Folder or address to read channels from.")
    @click.option("--offline", is_flag=True, default=None, help="Take nothing from the network.")
    @click.option("-q", "--quiet", is_flag=True, help="Show warnings and the answer only.")
    @click.option("-v", "--verbose", count=True, help="Show more; -vv logs what is called.")
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        envs: Path | None,
        mirror: str | None,
        offline: bool | None,
        quiet: bool,
        verbose: int,
        **kwargs: Any,
    ) -> Any:
        store = store_given()
        overrides = {"envs": envs, "mirror": mirror, "offline": offline, "store": store}
        meta = click.get_current_context().meta
        meta[PLACES] = _as_typed({**overrides, "store": None})
        meta[STORE] = _as_typed({"store": store, "envs": envs})
        return function(make_forge(overrides, -1 if quiet else verbose), *args, **kwargs)

    return wrapped  # type: ignore[return-value]


def store_option(function: F) -> F:
    """Add `--store DIR`; stands below `forge_options`, which reads it as a setting."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=_note_store,
        is_eager=True,
        help="Folder of the model files. [ENVFORGE_STORE, or ~/.local/share/envforge/store]",
    )(function)


_STORE_OPTION = "envforge.store"


def _note_store(ctx: click.Context, _: click.Parameter, value: Path | None) -> None:
    ctx.meta[_STORE_OPTION] = value


def store_given() -> Path | None:
    """What `--store` says on this command line."""
    found: Path | None = click.get_current_context().meta.get(_STORE_OPTION)
    return found


def _as_typed(overrides: Mapping[str, Any]) -> str:
    """These options as they stand on a command line, each after a blank."""
    given = {key: value for key, value in overrides.items() if value}
    return "".join(
        f" --{key}" if value is True else f" --{key} {shlex.quote(str(value))}"
        for key, value in given.items()
    )


def make_forge(overrides: dict[str, Any], verbosity: int = 0) -> Forge:
    """A `Forge` for this process: settings read once, progress shown on stderr."""
    from envforge.cli.progress import reporter_for
    from envforge.forge import Forge

    level = logging.DEBUG if verbosity > 1 else logging.ERROR
    logging.basicConfig(level=level)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Discreet("%(levelname)s %(name)s: %(message)s"))
    return Forge(reporter=reporter_for(verbosity), overrides=overrides)


class _Discreet(logging.Formatter):
    """Keeps credentials out of logs: libraries write the addresses that they ask."""

    def format(self, record: logging.LogRecord) -> str:
        """See the base class."""
        return hide(super().format(record))


def request_options(function: F) -> F:
    """Add what a request is made of: torch, CUDA, Python, packages, source."""
    for option in reversed(_REQUEST):
        function = option(function)
    return function


exclude_newer_option = click.option(
    "--exclude-newer",
    metavar="DATE",
    help="As if nothing had been published after that day (UTC) or moment.",
)
_REQUEST = (
    click.option("--torch", metavar="V", help="2.0.1, 2.0 (its newest patch) or latest. [latest]"),
    click.option("--cuda", metavar="V", help="11.8 or cu118, cpu, or auto: what runs here. [auto]"),
    click.option("--python", metavar="V", help="3.10, or host: the interpreter of envforge."),
    click.option(
        "--with", "packages", metavar="SPEC", multiple=True, help="A package more. Repeatable."
    ),
    click.option("--template", metavar="NAME", help="Start from a template: envforge templates."),
    click.option(
        "--source",
        type=click.Choice(["auto", *SOURCES]),
        default="auto",
        show_default=True,
        help="Where torch comes from.",
    ),
    click.option(
        "--channel", "channels", metavar="C", multiple=True, help="A channel more. Repeatable."
    ),
    click.option(
        "--platform",
        "platforms",
        type=click.Choice(PLATFORMS),
        multiple=True,
        help="Lock for it. Repeatable. [this machine's]",
    ),
    click.option(
        "--wheel-index",
        metavar="I",
        help="pytorch, site (as pip is configured), an address. [auto]",
    ),
    exclude_newer_option,
    click.option("--driver", metavar="V", help="Judge for this driver instead of this machine's."),
    click.option("--gpu", "gpus", metavar="NAME", multiple=True, help="... and this GPU, H200."),
    click.option(
        "--engine",
        type=click.Choice(["rattler", "conda-lock"]),
        default="rattler",
        show_default=True,
        help="Who solves.",
    ),
    click.option("--force", is_flag=True, help="Replace another request; go on if it cannot run."),
)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the answer as a versioned JSON document."
)
model_option = click.option(
    "--model",
    "models",
    metavar="REPO[@REV]",
    multiple=True,
    help="A model of the hub; dataset:R, R:tokenizer-only. Repeatable.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Stop before the first write, and show the plan."
)
prefix_option = click.option(
    "--prefix", type=click.Path(path_type=Path), help="Install here. [conda's envs_dirs/NAME]"
)
target_host_option = click.option(
    "--target-host", is_flag=True, help="Judge for the machine of virtual-packages.yml."
)
installed_prefix_option = click.option(
    "--prefix", type=click.Path(path_type=Path), help="Where ENV is installed. [found]"
)


def complete_environment(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Names of the environments in `--envs`, for shell completion."""
    from click.shell_completion import CompletionItem

    try:
        names = make_forge({"envs": ctx.params.get("envs")}, -1).names()
    except EnvforgeError:  # broken settings: every command says so, a half-typed one must not
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def environment_argument(*, required: bool = True) -> Callable[[F], F]:
    """The ENV argument: a name in `--envs`, or the path of a folder."""
    return click.argument(
        "env",
        required=required,
        shell_complete=complete_environment,
        metavar="ENV" if required else "[ENV]",
    )
