"""From what was typed to a `Request`, the machine it is for, and the matrix's choice."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from envforge import matrix
from envforge.errors import InvalidValue
from envforge.forge.workplace import Workplace, this_platform
from envforge.formats.conda import conda_spec
from envforge.formats.text import moment
from envforge.model.choice import Choice
from envforge.model.cuda import CPU, CudaVersion
from envforge.model.machine import PLATFORMS, Machine
from envforge.model.spec import (
    AUTO,
    HOST,
    LATEST,
    SOURCES,
    Request,
    check_project_name,
    environment_name,
)
from envforge.solve.wheel_index import torch_index_url

_OPTIONS: Final = {
    "packages": "--with",
    "channels": "--channel",
    "platforms": "--platform",
    "gpus": "--gpu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A request that the matrix has agreed to."""

    request: Request
    choice: Choice
    name: str
    machine: Machine | None
    command: Literal["create", "lock"] = "create"


def make_request(
    workplace: Workplace,
    project: str,
    *,
    torch: str | None = None,
    cuda: str | CudaVersion | None = None,
    python: str | None = None,
    packages: Sequence[str] = (),
    template: str | None = None,
    source: str = AUTO,
    channels: Sequence[str] = (),
    platforms: Sequence[str] = (),
    wheel_index: str | None = None,
    exclude_newer: str | None = None,
) -> Request:
    """Read what was typed; what was left out becomes `latest` torch and `auto` CUDA.

    Raises:
        InvalidValue: a value that cannot mean what it is used for.
    """
    return Request(
        project=check_project_name(project),
        torch=LATEST if torch is None else torch.strip().removeprefix("v"),
        cuda=_cuda(cuda),
        python=None if python is None else python.strip(),
        packages=tuple(_spec(item) for item in packages),
        template=None if template is None else _template(template),
        source=_one_of("source", source, (AUTO, *SOURCES)),
        channels=tuple(_channel(item) for item in channels),
        platforms=tuple(_one_of("platform", item, PLATFORMS) for item in platforms)
        or (this_platform(),),
        wheel_index=_wheel_index(workplace, wheel_index),
        exclude_newer=moment.parse(exclude_newer) if exclude_newer else None,
    )


def _cuda(given: str | CudaVersion | None) -> CudaVersion | Literal["auto"] | None:
    if given is None or isinstance(given, CudaVersion):
        return given or AUTO
    text = given.strip().lower()
    if text == AUTO:
        return AUTO
    return None if text in {CPU, "none"} else CudaVersion.parse(text)


def _spec(text: str) -> str:
    conda_spec.parse(text)  # a slip is told before anything is decided
    return text


def _template(name: str) -> str:
    from envforge.forge.solving.starting import load_template

    return load_template(name).name


def _channel(text: str) -> str:
    """A channel as files hold it: folders by their `file:` address."""
    if not text or any(char.isspace() for char in text):
        raise InvalidValue(what="channel", value=text, reason="is neither a name nor an address")
    if text.startswith(("/", "./", "../", "~")):
        return Path(text).expanduser().resolve().as_uri()
    return text


def _wheel_index(workplace: Workplace, given: str | None) -> str:
    index = workplace.settings.wheel_index if given is None else given.strip()
    if index != AUTO:
        torch_index_url(index, CPU)  # a slip is told though the source may turn out another
    return index


def _one_of(what: str, value: Any, allowed: Sequence[Any]) -> Any:
    if value in allowed:
        return value
    raise InvalidValue(
        what=what, value=str(value), reason=f"is not one of {', '.join(map(str, allowed))}"
    )


def refuse_request_options(name: str, options: Mapping[str, Any]) -> None:
    """`lock ENV` reads environment.yml, so a request beside it would be lost without a word.

    Raises:
        InvalidValue: `--with` and its like were given without `--torch` or `--cuda`.
    """
    given = [key for key, value in options.items() if value and value != AUTO]
    if given:
        raise InvalidValue(
            what="option",
            value=_OPTIONS.get(given[0], f"--{given[0].replace('_', '-')}"),
            reason=f"needs `--torch` or `--cuda`: without them `{name}` is locked as it stands",
            remedy=f"edit environment.yml, or `envforge add {name} PKG`",
        )


def decide(
    workplace: Workplace,
    request: Request,
    *,
    driver: str | None = None,
    gpus: Sequence[str] = (),
    target_host: bool = False,
    force: bool = False,
    command: Literal["create", "lock"] = "create",
) -> Decision:
    """Ask the matrix. Milliseconds: nothing is read but our own tables and the driver.

    A described machine (`driver`, `gpus`, or with `target_host` by `CONDA_OVERRIDE_*`) is
    binding. This machine is binding for `create`; a `lock` may well be for another, so there it
    gives warnings only.

    Raises:
        NoMatchingBuild, DriverTooOld, NoKernelsForGpu: exit 3.
    """
    machine = _machine(workplace, driver, gpus, target_host=target_host)
    binding = machine.origin == "described" or command == "create"
    host = ".".join(map(str, sys.version_info[:3])) if request.python == HOST else None
    choice = matrix.choose(
        request,
        machine,
        matrix=workplace.matrix,
        host_python=host,
        check_machine=binding and not force,
        command=command,
    )
    for note in choice.notes:
        workplace.reporter.note(note)
    if not binding or force:
        _warn_of_machine(workplace, choice, machine)
    return Decision(
        request=request,
        choice=choice,
        name=environment_name(request.project, choice.torch, choice.cuda),
        machine=machine,
        command=command,
    )


def _machine(
    workplace: Workplace, driver: str | None, gpus: Sequence[str], *, target_host: bool
) -> Machine:
    if driver or gpus:
        return matrix.described(driver, gpus, workplace.matrix)
    if target_host:
        from envforge.forge.prefixes import preflight

        return preflight.overridden(workplace)
    return workplace.probe.look()


def _warn_of_machine(workplace: Workplace, choice: Choice, machine: Machine) -> None:
    from envforge.errors import MatrixError

    if not machine.has_gpu:
        return
    try:
        matrix.judge_machine(choice, machine, matrix=workplace.matrix)
    except MatrixError as error:
        workplace.reporter.warn(str(error))
