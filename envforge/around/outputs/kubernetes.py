"""Kubernetes objects: a server, a job, a job that fetches models, and a look at every GPU node."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from envforge.around.outputs.clusters import (
    CPUS,
    GPUS,
    MEMORY,
    gpus,
    number,
    size_in_bytes,
)
from envforge.errors import InvalidValue
from envforge.model.outputs import Answers, Field, Output, OutputFile, Subject

_LONGEST: Final = 40
"""Characters of a name: 63 are a label's (RFC 1123), and suffixes of ours and of pods need some."""
_MIB: Final = 1 << 20
_CLAIM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_SERVER: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_HEADROOM: Final = 1.05
"""Of a copy in memory: folders and pages that are not full."""


def object_name(name: str) -> str:
    """A name for objects: the environment's, where that is a label of RFC 1123.

    Else what is left of it, with a hash, so that two names never become one.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if name and plain == name and len(plain) <= _LONGEST:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    head = plain[: _LONGEST - 9].strip("-")
    return f"{head}-{digest}" if head else f"env-{digest}"


def values(env: Subject, answers: Answers) -> Mapping[str, object]:
    """What the templates of Kubernetes use.

    Raises:
        InvalidValue: an answer that no cluster would take, or models where there are none.
    """
    _check(answers)
    models = _models(env, answers)
    copied = int(env.models_size * _HEADROOM / _MIB) + 1 if models == "memory" else 0
    name = object_name(env.name)
    return {
        "object_name": name,
        "models_object": f"{name}-models-{env.models_digest[:12]}".rstrip("-"),
        "models": models,
        "views": _views(env) if models != "none" else (),
        "models_mib": copied,
        "memory_mib": max(1, size_in_bytes(answers["memory"]) // _MIB) + copied,
        "gpus": gpus(env, answers),
        "uid": number(answers, "uid"),
        "port": number(answers, "port"),
        "driver_major": int(env.min_driver.partition(".")[0] or 0),
        "capability_majors": capability_majors(env.architectures),
        "model_files": _model_files(env) if models != "none" else {},
    }


_MODEL_FILES: Final = ("environment.yml", "models-lock.yml", "models.yml")
_CONFIG_MAP: Final = 1_000_000
"""Bytes that a ConfigMap may hold, less its own fields: 1 MiB (Kubernetes docs, "ConfigMaps")."""


def _model_files(env: Subject) -> Mapping[str, str]:
    """What the Job that fetches models works from.

    Raises:
        InvalidValue: no ConfigMap can hold it.
    """
    found = {item: env.files[item] for item in _MODEL_FILES if item in env.files}
    size = sum(len(text.encode()) for text in found.values())
    if size > _CONFIG_MAP:
        raise InvalidValue(
            what="size of models-lock.yml",
            value=f"{size} bytes",
            reason="is more than a ConfigMap holds, 1 MiB",
            remedy="`allow:` in models.yml locks fewer files; or `--set models=image`, baked in",
        )
    return found


def capability_majors(architectures: tuple[str, ...]) -> tuple[str, ...]:
    """First numbers of the compute capabilities that a build runs on; empty: any may do.

    Machine code runs on its own major; PTX is compiled for every later one (CUDA C++ programming
    guide, "Application compatibility"), of which nobody has a list.
    """
    if any("PTX" in item for item in architectures):
        return ()
    majors = {found[1] for item in architectures if (found := re.match(r"(\d+)\.\d", item))}
    return tuple(sorted(majors, key=int))


def _models(env: Subject, answers: Answers) -> str:
    """Where models come from: as asked for, else a claim where there are models."""
    wanted = answers["models"]
    if not env.models and wanted in {"pvc", "nfs", "memory"}:
        raise InvalidValue(
            what="setting `models`",
            value=wanted,
            reason=f"cannot be: `{env.name}` has no models-lock.yml",
            remedy=f"`envforge cache lock {env.name} --model ORG/NAME`",
        )
    if wanted == "nfs" and not (answers["nfs-server"] and answers["nfs-path"]):
        raise InvalidValue(
            what="setting `models`",
            value=wanted,
            reason="needs a server and a path",
            remedy="`--set nfs-server=HOST --set nfs-path=/PATH`",
        )
    if wanted == "auto":
        return "pvc" if env.models else "none"
    return "none" if wanted == "image" else wanted


def _views(env: Subject) -> tuple[str, ...]:
    return ("models", "models.flat") if env.needs_flat else ("models",)


def _check(answers: Answers) -> None:
    shapes = {
        "claim": (_CLAIM, "is no name of an object"),
        "runtime-class": (_CLAIM, "is no name of an object"),
        "nfs-server": (_SERVER, "is no host"),
        "module": (_MODULE, "is no module of Python"),
    }
    for name, (shape, reason) in shapes.items():
        if answers[name] and not shape.fullmatch(answers[name]):
            raise InvalidValue(what=f"setting `{name}`", value=answers[name], reason=reason)
    for name, most in (("port", 65535), ("uid", 2**31 - 1)):
        if number(answers, name) > most:
            raise InvalidValue(
                what=f"setting `{name}`", value=answers[name], reason=f"is more than {most}"
            )


KUBERNETES: Final = (
    Output(
        name="kubernetes",
        about="a deployment, a job, a job that fetches the models, and a check of every GPU node",
        files=(
            OutputFile(template="kubernetes-deployment.yaml.j2", name="deployment.yaml"),
            OutputFile(template="kubernetes-job.yaml.j2", name="job.yaml"),
            OutputFile(template="kubernetes-verify.yaml.j2", name="verify-daemonset.yaml"),
            OutputFile(
                template="kubernetes-prefill.yaml.j2",
                name="prefill-job.yaml",
                when=lambda env, answers: _models(env, answers) != "none",
            ),
        ),
        fields=(
            Field(
                name="image",
                about="the image that `export --to dockerfile` built, with its digest",
                default=None,
                kind="image",
            ),
            Field(name="module", about="the module of Python to run; empty: the image's command"),
            GPUS,
            CPUS,
            MEMORY,
            Field(name="shm", about="memory that processes share", default="8Gi", kind="size"),
            Field(name="port", about="where the server listens", default="8000", kind="number"),
            Field(
                name="health",
                about="what the probes ask for, `/health`; empty: whether the port is open",
                kind="path",
            ),
            Field(
                name="models",
                about="where models come from: a claim, NFS, a copy of the claim in memory, the"
                " image; auto: a claim where there are any",
                default="auto",
                kind="choice",
                choices=("auto", "pvc", "nfs", "memory", "image", "none"),
            ),
            Field(name="claim", about="the claim that holds them", default="envforge-models"),
            Field(name="nfs-server", about="the host that has them"),
            Field(name="nfs-path", about="the folder on it", kind="path"),
            Field(
                name="runtime-class",
                about="what lets a container see GPUs without taking one; empty: the default does",
                default="nvidia",
            ),
            Field(name="uid", about="the image's user, by number", default="10001", kind="number"),
        ),
        values=values,
        next="kubectl apply -f {folder}/deployment.yaml",
    ),
)
"""Outputs of this kind."""
