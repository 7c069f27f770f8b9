"""Images: Dockerfile, Apptainer definition, Compose file and development container.

All are made of the same steps: a tool stage with envforge, one that installs the lock, one that
bakes models in, and a last one that holds what came of them and belongs to no user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from envforge.errors import InvalidValue
from envforge.formats.models import models_lock_yml, models_yml
from envforge.model.models import TOKENIZER_FILES, TOKENIZER_ONLY, LockedModel, ModelsLock
from envforge.model.outputs import Answers, Field, Layer, Output, OutputFile, Subject
from envforge.model.wording import counted

BASE_IMAGE: Final = (
    "docker.io/library/python"
    "@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254"
)
"""`python:3.12-slim-bookworm`: glibc 2.36, newer than any lock asks for, and a Python for us."""
_BASE_SIZE: Final = 125_000_000
"""Bytes, unpacked; of its kind, not of this digest."""
_TOOL_SIZE: Final = 220_000_000
"""Bytes, measured, of a virtual environment with what `envforge-requirements.txt` names."""
_LOCK_FILES: Final = ("environment.yml", "virtual-packages.yml", "conda-lock.yml")
_MODEL_FILES: Final = ("models.yml", "models-lock.yml")
BAKING: Final = ("none", "tokenizers", "all")

_FIELDS: Final = (
    Field(
        name="base-image",
        about="the image to start from, with its digest: Debian or Ubuntu, Python 3.10 or newer",
        default=BASE_IMAGE,
        kind="image",
    ),
    Field(
        name="bake-models",
        about="which files of the models the image holds; the others are mounted",
        default="none",
        kind="choice",
        choices=BAKING,
    ),
    Field(
        name="uid", about="user and group that run it, by number", default="10001", kind="number"
    ),
)
_MODELS: Final = Field(
    name="models",
    about="path of a view on the machine that runs it, to be mounted; empty: `ENVFORGE_MODELS`",
    kind="path",
)


def values(subject: Subject, answers: Answers) -> Mapping[str, object]:
    """What the templates of images use.

    Raises:
        InvalidValue: there is no lock of ours to build from, no models to bake, or user 0.
    """
    _check(subject, answers)
    baked = answers["bake-models"] != "none"
    return {
        "base": answers["base-image"],
        "uid": answers["uid"],
        "image": f"{subject.name}:{subject.tag}",
        "lock_files": [name for name in _LOCK_FILES if name in subject.files],
        "model_files": _MODEL_FILES,
        "baked": baked,
        "flat": subject.needs_flat,
        "hub": subject.hub("/opt/models"),
        "models_come": "baked in" if baked else "mounted there: -v VIEW:/opt/models:ro",
        "models_said": _said(subject, answers),
        "driver": subject.min_driver.partition(".")[0],
        "models_come_hpc": "baked in" if baked else "bound there: --bind VIEW:/opt/models:ro",
    }


_NO_MODELS: Final = "set it to the path of a view: envforge cache view PATH/ --env ENV"


def compose_values(subject: Subject, answers: Answers) -> Mapping[str, object]:
    """The same, and what a Compose file names: its project, and where models are mounted from."""
    own = answers["models"].replace("$", "$$")
    return {
        **values(subject, answers),
        "project": re.sub("[^a-z0-9_-]", "-", subject.name),
        "models_source": own or f"${{ENVFORGE_MODELS:?{_NO_MODELS}}}",
    }


def devcontainer_values(subject: Subject, answers: Answers) -> Mapping[str, object]:
    """The same, and how models are mounted.

    Raises:
        InvalidValue: docker's `--mount`, which is a line of CSV, cannot carry the path.
    """
    own = answers["models"]
    if not re.fullmatch(r"[^,\"$]*", own):
        raise InvalidValue(
            what="setting `models`",
            value=own,
            reason="holds characters that docker's `--mount` cannot carry",
        )
    source = own or "${localEnv:ENVFORGE_MODELS}"
    return {
        **values(subject, answers),
        "mount": f"type=bind,source={source},target=/opt/models,readonly",
    }


def _check(subject: Subject, answers: Answers) -> None:
    if "conda-lock.yml" not in subject.files:
        raise InvalidValue(
            what="environment",
            value=subject.name,
            reason="has no folder of ours, and an image is made from its lock",
            remedy="`envforge adopt` makes one of another tool's lock",
        )
    if answers["bake-models"] != "none" and not subject.models:
        raise InvalidValue(
            what="setting `bake-models`",
            value=answers["bake-models"],
            reason=f"cannot be: `{subject.name}` has no models-lock.yml",
            remedy=f"`envforge cache lock {subject.name} --model ORG/NAME`",
        )
    if not 0 < int(answers["uid"]) < 2**31:
        raise InvalidValue(
            what="setting `uid`",
            value=answers["uid"],
            reason="is no user without rights: a number from 1 to 2147483647",
        )


def copies(subject: Subject, answers: Answers) -> Mapping[str, str]:
    """The files that an image is built from: the environment's own, in a folder of its name."""
    names = [name for name in _LOCK_FILES if name in subject.files]
    found = {name: subject.files[name] for name in names}
    if answers["bake-models"] != "none":
        lock = models_lock_yml.read(subject.files["models-lock.yml"], "models-lock.yml")
        if answers["bake-models"] == "tokenizers":
            lock = tokenizers_of(lock)
        found["models.yml"] = _asked(lock)
        found["models-lock.yml"] = models_lock_yml.write(lock)
    return {f"{subject.name}/{name}": text for name, text in found.items()}


def tokenizers_of(lock: ModelsLock) -> ModelsLock:
    """Only what tokenizers and configurations need; models that have no such file are left out."""
    cut = (_tokenizer(item) for item in lock.models)
    return replace(lock, models=tuple(item for item in cut if item.files))


def _tokenizer(model: LockedModel) -> LockedModel:
    request = replace(model.request, only=TOKENIZER_ONLY, allow=(), ignore=())
    kept = tuple(
        item
        for item in model.files
        if any(fnmatchcase(item.path, pattern) for pattern in TOKENIZER_FILES)
    )
    return replace(model, request=request, files=kept)


def _asked(lock: ModelsLock) -> str:
    return "models:\n" + "".join(
        f"  - {models_yml.entry(item.request, '  ')}\n" for item in lock.models
    )


def _said(subject: Subject, answers: Answers) -> str:
    which = (
        "tokenizers and configurations" if answers["bake-models"] == "tokenizers" else "all files"
    )
    return f"{which} of {counted(len(subject.models), 'model')}"


def layers(subject: Subject, answers: Answers, environment: Layer) -> tuple[Layer, ...]:
    """What an image will hold, from the bottom up.

    Args:
        subject: the environment.
        answers: what was chosen.
        environment: its packages.
    """
    found = [
        Layer(what="the base image", size=_BASE_SIZE, estimated=True),
        Layer(what=f"envforge {subject.envforge}", size=_TOOL_SIZE, estimated=True),
        environment,
    ]
    if answers["bake-models"] != "none":
        lock = models_lock_yml.read(subject.files["models-lock.yml"], "models-lock.yml")
        if answers["bake-models"] == "tokenizers":
            lock = tokenizers_of(lock)
        size = sum(item.size for item in lock.files.values())
        found.append(Layer(what=f"models: {_said(subject, answers)}", size=size))
    return tuple(found)


_REQUIREMENTS: Final = OutputFile(
    template="envforge-requirements.txt.j2", name="envforge-requirements.txt"
)
_DOCKERFILE: Final = OutputFile(template="dockerfile.j2", name="Dockerfile")

IMAGES: Final = (
    Output(
        name="dockerfile",
        about="an image: a folder to build it from",
        files=(_DOCKERFILE, _REQUIREMENTS),
        fields=_FIELDS,
        values=values,
        copies=copies,
        next="docker build -t {env} {folder}",
        builds=True,
    ),
    Output(
        name="apptainer",
        about="an image for HPC: a definition file and what it is built from",
        files=(OutputFile(template="apptainer.def.j2", name="{env}.def"), _REQUIREMENTS),
        fields=tuple(item for item in _FIELDS if item.name != "uid"),
        values=lambda subject, answers: values(subject, {**answers, "uid": "1"}),
        copies=copies,
        next="cd {folder} && apptainer build {env}.sif {env}.def",
        builds=True,
    ),
    Output(
        name="compose",
        about="a service with GPUs and mounted models, and the image that it runs",
        files=(
            OutputFile(template="compose.yaml.j2", name="compose.yaml"),
            _DOCKERFILE,
            _REQUIREMENTS,
        ),
        fields=(*_FIELDS, _MODELS),
        values=compose_values,
        copies=copies,
        next="docker compose -f {folder}/compose.yaml up",
        builds=True,
    ),
    Output(
        name="devcontainer",
        about="a development container: what goes into .devcontainer/",
        files=(
            OutputFile(template="devcontainer.json.j2", name="devcontainer.json"),
            _DOCKERFILE,
            _REQUIREMENTS,
        ),
        fields=(*_FIELDS, _MODELS),
        values=devcontainer_values,
        copies=copies,
        builds=True,
    ),
)
"""The outputs of this module."""
