"""`export` of what templates write: images, files for clusters, scripts."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from envforge.adapters.environments import FILES
from envforge.around.outputs import registry as outputs
from envforge.around.outputs.images import BASE_IMAGE, layers
from envforge.cache import view_variables
from envforge.errors import InvalidValue
from envforge.forge.workplace import Workplace
from envforge.formats.models import models_lock_yml
from envforge.formats.text.secret_shapes import ANNOUNCED, SECRET_NAME, SHAPED, USER_PART
from envforge.install.forecast import unpacked_size
from envforge.install.plan import lock_digest
from envforge.model.export import EXPORT_TARGETS, Export, ExportFile, ExportSubject, Loss
from envforge.model.models import LockedModel
from envforge.model.outputs import Layer, Output, Subject, SubjectModel
from envforge.model.wording import listed
from envforge.team import export_plan, secrets
from envforge.version import __version__


def find(workplace: Workplace, name: str) -> Output | None:
    """The output of this name, be it somebody's own; None: templates write no such thing."""
    if name in outputs.OUTPUTS:
        return outputs.OUTPUTS[name]
    if name in EXPORT_TARGETS or not outputs.PLAIN_NAME.fullmatch(name):
        return None
    from envforge.adapters.output_templates import OutputTemplates

    templates = OutputTemplates(workplace.settings.templates)
    return outputs.own(name) if templates.has_own(f"{name}.j2") else None


def export(
    workplace: Workplace,
    output: Output,
    source: ExportSubject,
    *,
    platforms: Sequence[str] = (),
    given: Mapping[str, str],
) -> Export:
    """Render an output; nothing touches the disk.

    Raises:
        InvalidValue: an answer or a value that does not fit, or no platform that does.
        InvalidFile: a template that cannot be rendered.
    """
    from envforge.adapters.output_templates import OutputTemplates

    answers = outputs.answers(output, given)
    prepared, losses = export_plan.prepared(source)
    subject, more = subject_of(prepared, _platform(prepared, output, platforms))
    values = {"env": subject, "set": answers, **output.values(subject, answers)}
    templates = OutputTemplates(workplace.settings.templates)
    written = [
        ExportFile(
            name=_inside(item.name.format(env=subject.name)),
            text=templates.render(item.template, values),
            executable=item.executable,
        )
        for item in output.files
        if item.when(subject, answers)
    ]
    copied = output.copies(subject, answers)
    written += [ExportFile(name=_inside(name), text=text) for name, text in copied.items()]
    kept = {name for loss in more for name in loss.names}
    _refuse_secrets(written, {name: prepared.variables[name] for name in kept})
    return Export(
        environment=subject.name,
        target=output.name,
        platforms=(subject.platform,),
        files=tuple(written),
        losses=(*losses, *more, *_missing(prepared, output, subject)),
        layers=_layers(prepared, subject, answers) if output.builds else (),
        next=output.next.format(env=shlex.quote(subject.name), folder="FOLDER", file="FILE"),
    )


def subject_of(source: ExportSubject, platform: str) -> tuple[Subject, tuple[Loss, ...]]:
    """What templates may know of an environment on one platform, and what is kept from them."""
    packages = source.lock.for_platform(platform)
    target = source.lock.target
    models = source.models.models if source.models else ()
    kept = {name: value for name, value in source.variables.items() if not _is_secret(name, value)}
    secret = tuple(sorted(set(source.variables) - set(kept)))
    python = source.lock.find("python", platform)
    transformers = source.lock.find("transformers", platform)
    release = view_variables.release(transformers.version) if transformers else ()
    return (
        Subject(
            name=source.name,
            platform=platform,
            digest=lock_digest(packages, source.variables),
            models_digest=_models_digest(source) if models else "",
            python=python.version if python else "",
            torch=target.torch if target else "",
            cuda=str(target.cuda) if target and target.cuda else "",
            min_driver=(target.min_driver or "") if target and target.cuda else "",
            architectures=target.architectures if target else (),
            variables=dict(sorted(kept.items())),
            models=tuple(sorted(map(_model, models))),
            hub_variables=_hub_variables(release) if models else {},
            needs_flat=view_variables.needs_flat(release),
            packages=len(packages),
            wheels=sum(item.manager == "pip" for item in packages),
            files=_files(source),
            base_image=BASE_IMAGE,
            envforge=__version__,
        ),
        (Loss(what="variables that look like secrets", names=secret),) if secret else (),
    )


def _missing(source: ExportSubject, output: Output, subject: Subject) -> Iterator[Loss]:
    """What the output needs, and the environment has not."""
    lacking = [name for name in output.needs if not source.lock.find(name, subject.platform)]
    if lacking:
        adding = f"envforge add {shlex.quote(subject.name)} {' '.join(lacking)}"
        yield Loss(what=f"{listed(lacking, 4)}, without which it does not start: `{adding}`")
    packages = source.lock.for_platform(subject.platform)
    local = tuple(item.name for item in packages if item.url.startswith("file:"))
    if output.builds and local:
        what = "packages that exist on this machine only: a build that does not see them fails"
        yield Loss(what=what, names=local)


def _layers(
    source: ExportSubject, subject: Subject, answers: Mapping[str, str]
) -> tuple[Layer, ...]:
    sizes = [unpacked_size(item) for item in source.lock.for_platform(subject.platform)]
    environment = Layer(
        what=f"the environment, {subject.packages} packages",
        size=sum(size for size, _ in sizes),
        estimated=any(estimated for _, estimated in sizes),
    )
    return layers(subject, answers, environment)


def _platform(source: ExportSubject, output: Output, wanted: Sequence[str]) -> str:
    """The one platform to write for: that asked for, else the first that fits."""
    chosen = export_plan.chosen_platforms(source, wanted)
    fitting = [item for item in chosen if item in output.platforms]
    if not fitting or (wanted and len(chosen) > 1):
        raise InvalidValue(
            what="platform",
            value=", ".join(wanted or chosen),
            reason=f"is none that `{output.name}` is written for, one at a time",
            remedy=f"`--platform` of {', '.join(output.platforms)}; `envforge lock` adds one",
        )
    return fitting[0]


_LOCKS: Final = ("/conda-lock.yml", "/models-lock.yml")
"""What we wrote, and never with a credential; thousands of lines."""
_NO_SECRET: Final = re.compile(r"[\d.,]*|true|false|yes|no|on|off", re.IGNORECASE)
"""`MAX_TOKENS: 512` has the name of a secret, and is none."""


def _refuse_secrets(written: Sequence[ExportFile], kept: Mapping[str, str]) -> None:
    """See that no file that is carried as it is, environment.yml above all, holds a secret.

    Args:
        written: all files of the output.
        kept: variables that templates do not get, as they look like secrets.

    Raises:
        InvalidValue: one of them would be in an image, or in a cluster's configuration.
    """
    names = sorted(
        name for name in secrets.in_variables(kept) if not _NO_SECRET.fullmatch(kept[name])
    )
    for item in written:
        if item.name.endswith(_LOCKS):
            continue
        held = [name for name in names if re.search(rf"\b{re.escape(name)}\b", item.text)]
        held += [f"line {number}" for number, _ in secrets.in_text(item.text)]
        if held:
            raise InvalidValue(
                what="file of the export",
                value=item.name,
                reason=f"would hold a secret: {listed(held, 4)}",
                remedy="take it out of the environment's files; `envforge check` tells where",
            )


def _is_secret(name: str, value: str) -> bool:
    return bool(
        SECRET_NAME.search(name)
        or SHAPED.search(value)
        or USER_PART.search(value)
        or any(item.search(value) for item in ANNOUNCED)
    )


def _model(item: LockedModel) -> SubjectModel:
    return SubjectModel(repo=item.repo.shown, commit=item.commit, size=item.size)


def _hub_variables(transformers: tuple[int, ...]) -> dict[str, str]:
    """Those of a view that is to be named in place of `{view}`."""
    flat = "{view}.flat" if view_variables.needs_flat(transformers) else ""
    return view_variables.variables("{view}", flat=flat, transformers=transformers, offline=True)


def _models_digest(source: ExportSubject) -> str:
    assert source.models is not None  # noqa: S101 - whoever calls has asked
    return hashlib.sha256(models_lock_yml.write(source.models).encode()).hexdigest()


def _files(source: ExportSubject) -> dict[str, str]:
    from envforge.adapters import files

    if source.folder is None:
        return {}
    there = [name for name in FILES if files.is_there(source.folder / name)]
    return {name: files.read_text(source.folder / name) for name in sorted(there)}


def _inside(name: str) -> str:
    """A name below the folder that is written to."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise InvalidValue(what="file of an export", value=name, reason="leads elsewhere")
    return name
