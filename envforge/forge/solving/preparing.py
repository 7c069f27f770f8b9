"""What a solve starts from: inputs of a fresh request, or of an environment.yml that is there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from envforge import matrix
from envforge.adapters.channels import NODEFAULTS, resolve_channels
from envforge.adapters.environments import ENVIRONMENT_YML
from envforge.forge.folders import VARIABLES, Folder
from envforge.forge.solving.asking import Decision
from envforge.forge.workplace import Workplace
from envforge.formats.conda import environment_yml
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.choice import Choice
from envforge.model.lock import UNSOLVED, Lock
from envforge.model.machine import Platform
from envforge.model.solving import Channel, without_credentials
from envforge.model.spec import AUTO, HOST, Request, VirtualPackage
from envforge.solve import claim, compose, record, targets
from envforge.solve.lock import LockInputs
from envforge.solve.wheel_index import PYTORCH, SITE, torch_index_url

if TYPE_CHECKING:
    from envforge.adapters.host_python import HostPython

HEADER = "{name}: edit this file, then run `envforge lock {name}`."


def fresh(workplace: Workplace, decision: Decision) -> LockInputs:
    """What a new folder is solved from."""
    request, choice = decision.request, decision.choice
    packages, variables = _template(workplace, request, choice)
    host = workplace.host_python() if choice.python == HOST else None
    spec = compose.compose(
        request,
        choice,
        packages,
        decision.name,
        variables=variables,
        host_python=host.version if host else None,
    )
    text = environment_yml.write(spec, HEADER.format(name=decision.name))
    document = environment_yml.read(text, ENVIRONMENT_YML)
    if host is not None:  # it is bound to this machine, so its C library is what counts
        choice = replace(choice, min_glibc=host.min_glibc)
    virtual = targets.all_virtual_packages(
        request.platforms, choice, workplace.settings.environment
    )
    index = wheel_index_of(workplace, request.wheel_index)
    inputs = _inputs(
        workplace,
        document,
        virtual,
        choice,
        wheel_index=index,
        channels=_local_channel(host),
        given_channels=request.channels,
        metadata={
            record.KEY: record.to_text(request, choice, index),
            **variables_metadata(variables),
        },
    )
    return dated(replace(inputs, is_fresh=True), request.exclude_newer)


def dated(inputs: LockInputs, moment: str | None) -> LockInputs:
    """Without what was published after a moment, which the lock then tells; None: with all."""
    if moment is None:
        return inputs
    metadata = {**inputs.metadata, record.EXCLUDE_NEWER: moment}
    return replace(inputs, exclude_newer=moment, metadata=metadata)


def _local_channel(host: HostPython | None) -> tuple[Channel, ...]:
    return (Channel(name="host-python", url=host.channel_url),) if host else ()


def variables_metadata(variables: Mapping[str, str]) -> dict[str, str]:
    """What activation sets, as it is kept in `custom_metadata`."""
    return {VARIABLES: json.dumps(dict(variables), sort_keys=True)} if variables else {}


def _template(
    workplace: Workplace, request: Request, choice: Choice
) -> tuple[tuple[str, ...], dict[str, str]]:
    if request.template is None:
        return (), {}
    from envforge.forge.solving.starting import load_template
    from envforge.solve import templates

    template = load_template(request.template)
    asked = {
        "torch": choice.torch,
        "platforms": request.platforms,
        "source": choice.source,
        "cuda": choice.cuda,
    }
    left_out = templates.left_out(template, **asked)  # type: ignore[arg-type]
    if left_out:
        workplace.reporter.note(
            f"template {template.name}: without {', '.join(left_out)},"
            f" which torch {choice.torch} or a platform does not have"
        )
    return templates.select(template, **asked), dict(template.variables)  # type: ignore[arg-type]


def _inputs(
    workplace: Workplace,
    document: EnvironmentDocument,
    virtual: dict[Platform, tuple[VirtualPackage, ...]],
    choice: Choice,
    *,
    wheel_index: str,
    metadata: dict[str, str],
    channels: tuple[Channel, ...] = (),
    given_channels: Sequence[str] = (),
) -> LockInputs:
    names = document.spec.channels
    with_credentials = {without_credentials(item): item for item in given_channels}
    named = tuple(with_credentials.get(name, name) for name in names)
    resolved = resolve_channels(named, workplace.settings)
    wheels = choice.source == "wheels"
    torch_index = torch_index_url(wheel_index, choice.wheel_label or "cpu") if wheels else None
    known_as = without_credentials(wheel_index)
    if wheels:
        served = torch_index or "what pip on this machine is configured with"
        workplace.reporter.note(
            f"torch's wheels come from {without_credentials(served)} (`{known_as}`)"
        )
    return LockInputs(
        document=document,
        virtual=virtual,
        channels=(*channels, *resolved),
        source=choice.source,
        cuda=choice.cuda,
        constraints=choice.constraints,
        other_pythons=choice.other_pythons,
        architectures=choice.architectures,
        min_driver=choice.min_driver,
        wheel_index=known_as if wheels else None,
        torch_index=torch_index,
        machine_local=choice.python == HOST,
        metadata=metadata,
    )


def edited(
    workplace: Workplace, folder: Folder, document: EnvironmentDocument, *, prefer_locked: bool
) -> LockInputs:
    """What an environment.yml that is there is solved from: its own pins, and no other Python."""
    choice, old = choice_of(workplace, folder, document), folder.lock
    no_channel = all(name == NODEFAULTS for name in document.spec.channels)
    host = workplace.host_python() if no_channel else None
    before = old.target.wheel_index if old and old.target else None
    inputs = _inputs(
        workplace,
        document,
        _virtual(workplace, folder, document, choice),
        choice,
        wheel_index=before or wheel_index_of(workplace, workplace.settings.wheel_index),
        metadata=_kept_metadata(old, document),
        channels=_local_channel(host),
    )
    return replace(
        inputs,
        other_pythons=(),
        machine_local=host is not None,
        preferred=old.packages if old and prefer_locked else (),
    )


def wheel_index_of(workplace: Workplace, asked: str) -> str:
    """Decide `auto`: the site's own, where pip is told of more than a mirror of the registry.

    Find-links and extra indexes are where a site puts its own builds of torch; a lone
    `index-url` mirrors the public registry, which has one CUDA for each torch.
    """
    if asked != AUTO:
        return asked
    pip = workplace.uv.settings
    return SITE if pip.find_links or pip.extra_index_urls or pip.no_index else PYTORCH


def choice_of(workplace: Workplace, folder: Folder, document: EnvironmentDocument) -> Choice:
    """The matrix's choice for what an environment.yml claims; no machine is judged."""
    found = claim.read_claim(document.spec, str(folder.path / ENVIRONMENT_YML))
    request = Request(
        project=found.project,
        torch=found.torch,
        cuda=found.cuda,
        python=".".join(found.python.split(".")[:2]) if found.python else None,
        source=found.source,
        platforms=document.spec.platforms,
    )
    return matrix.choose(request, None, matrix=workplace.matrix, check_machine=False)


def _virtual(
    workplace: Workplace, folder: Folder, document: EnvironmentDocument, choice: Choice
) -> dict[Platform, tuple[VirtualPackage, ...]]:
    """The file beside it counts; a platform that it lacks is described anew."""
    fresh = targets.all_virtual_packages(
        document.spec.platforms, choice, workplace.settings.environment
    )
    return {name: folder.virtual.get(name, packages) for name, packages in fresh.items()}


def _kept_metadata(old: Lock | None, document: EnvironmentDocument) -> dict[str, str]:
    kept = dict(old.metadata) if old else {}
    kept.pop(UNSOLVED, None)
    for key in (VARIABLES, record.EXCLUDE_NEWER):
        kept.pop(key, None)
    return kept | variables_metadata(document.spec.variables)
