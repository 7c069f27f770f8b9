"""Outputs of one environment that has everything: models, variables, wheels, a GPU build.

export = written("dockerfile", {"bake-models": "all"})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fakes.exported import lock, models, spec, subject

from envforge.adapters.output_templates import OutputTemplates
from envforge.around.outputs.registry import OUTPUTS, answers
from envforge.forge.locks import templated
from envforge.formats.conda import environment_yml
from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.models import models_lock_yml, models_yml
from envforge.model.export import ExportFile, ExportSubject
from envforge.model.outputs import Subject

IMAGE: Final = "registry.example.org/team/x@sha256:" + "5" * 64
GIVEN: Final[Mapping[str, Mapping[str, str]]] = {
    "kubernetes": {"image": IMAGE},
    "lmod": {"prefix": "/srv/envs/x-torch27-cu126"},
    "slurm": {"prefix": "/srv/envs/x-torch27-cu126"},
    "systemd": {"prefix": "/srv/envs/x-torch27-cu126"},
    "jupyter": {"prefix": "/srv/envs/x-torch27-cu126"},
    "onboarding": {"envs": "/srv/team/envs"},
}
"""What has no default."""
_OURS: Final = OutputTemplates(Path("/nowhere"))
"""Compiled once for all tests."""


def source(**changes: Any) -> ExportSubject:
    """An environment with everything, as `export` reads it."""
    return subject(**changes)


def files() -> dict[str, str]:
    """The texts in its folder."""
    asked = "".join(f"  - {models_yml.entry(item.request)}\n" for item in models().models)
    return {
        "environment.yml": environment_yml.write(spec()),
        "conda-lock.yml": conda_lock_yml.write(lock()),
        "models.yml": f"models:\n{asked}",
        "models-lock.yml": models_lock_yml.write(models()),
    }


def subject_for(platform: str = "linux-64", **changes: Any) -> Subject:
    """What templates are given."""
    found, _ = templated.subject_of(source(), platform)
    return replace(found, **{"files": files(), "envforge": "1.2.3", **changes})


def written(
    name: str,
    given: Mapping[str, str] | None = None,
    env: Subject | None = None,
    own: Path | None = None,
) -> dict[str, ExportFile]:
    """The files of an output that templates write, by name."""
    output, about = OUTPUTS[name], env or subject_for()
    chosen = answers(output, {**GIVEN.get(name, {}), **(given or {})})
    values = {"env": about, "set": chosen, **output.values(about, chosen)}
    templates = OutputTemplates(own) if own else _OURS
    found = [
        ExportFile(
            name=item.name.format(env=about.name),
            text=templates.render(item.template, values),
            executable=item.executable,
        )
        for item in output.files
        if item.when(about, chosen)
    ]
    return {item.name: item for item in found}
