"""Outputs for what runs an environment on shared machines: Slurm, Lmod, Jupyter, systemd."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from envforge.errors import InvalidValue
from envforge.model.outputs import Answers, Field, Output, OutputFile, Subject

_PREFIX: Final = Field(
    name="prefix",
    about="where the environment is installed, for everybody who will use it",
    default=None,
    kind="path",
)
_ENVFORGE: Final = Field(
    name="envforge",
    about="the program `envforge` on those machines",
    default="/usr/local/bin/envforge",
    kind="path",
)
_HUB: Final = Field(
    name="hub",
    about="a view of the models (`envforge cache view`), which clients shall use",
    kind="path",
)
_SLURM_TIME: Final = re.compile(r"\d{1,6}(?::\d\d){0,2}|\d{1,4}-\d\d(?::\d\d){0,2}", re.ASCII)
"""Minutes, [HH:]MM:SS or days-HH[:MM[:SS]] (sbatch(1), `--time`)."""
_KERNEL_FIELD: Final = re.compile(r"\{(?:connection_file|prefix|resource_dir)\}")
"""jupyter_client puts something else in their place, and has no way to write them as they are."""
_FACTORS: Final[Mapping[str, int]] = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T"), 1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti"), 1)},
}


def description(env: Subject) -> str:
    """What it is, on one line: `nlp-bert-torch20-cu118, PyTorch 2.0.1, CUDA 11.8`."""
    torch = f"PyTorch {env.torch}" if env.torch else ""
    build = f"CUDA {env.cuda}" if env.cuda else "CPU" if env.torch else ""
    python = f"Python {env.python}" if env.python else ""
    return ", ".join(part for part in (env.name, torch, build, python) if part)


def facts(env: Subject) -> tuple[str, ...]:
    """The same and what it needs, a line each, for pages of help."""
    lines = [f"Description: {description(env)}", f"Version: {env.tag}"]
    if env.min_driver:
        lines.append(f"Needs: NVIDIA driver {env.min_driver} or newer")
    if env.architectures:
        lines.append(f"GPU architectures: {', '.join(env.architectures)}")
    lines += [f"Model: {item.repo} at {item.commit}" for item in env.models]
    return tuple(lines)


def variables(env: Subject, answers: Answers) -> dict[str, str]:
    """What is set, sorted: the environment's own, the models', and nothing from a user's home."""
    hub = env.hub(answers["hub"]) if answers["hub"] else {}
    found = {"PYTHONNOUSERSITE": "1", **hub, **env.variables}
    return dict(sorted(found.items()))


def size_in_bytes(size: str) -> int:
    """`16Gi` and its like, as Kubernetes reads them."""
    number = size.rstrip("KMGTik")
    return int(number) * _FACTORS[size.removeprefix(number)]


# --- one function an output -------------------------------------------------------------------


def _lmod(env: Subject, answers: Answers) -> Mapping[str, object]:
    return {"facts": facts(env), "variables": variables(env, answers)}


def _jupyter(env: Subject, answers: Answers) -> Mapping[str, object]:
    """`$` begins a variable in values of `env`, and is doubled to stay one (string.Template)."""
    prefix = answers["prefix"]
    if _KERNEL_FIELD.search(prefix):
        raise InvalidValue(
            what="setting `prefix`", value=prefix, reason="holds what a kernel's file replaces"
        )
    fixed = {
        "CONDA_DEFAULT_ENV": env.name,
        "CONDA_PREFIX": prefix,
        "PATH": f"{prefix}/bin",
        **variables(env, answers),
    }
    kernel = {name: value.replace("$", "$$") for name, value in sorted(fixed.items())}
    kernel["PATH"] += ":${PATH}"
    return {
        "python": f"{prefix}/bin/python",
        "display_name": answers["name"] or env.name,
        "kernel_variables": kernel,
    }


def _slurm(env: Subject, answers: Answers) -> Mapping[str, object]:
    if not _SLURM_TIME.fullmatch(answers["time"]):
        raise InvalidValue(
            what="setting `time`",
            value=answers["time"],
            reason="is no time of Slurm's",
            remedy="`--set time=12:00:00`, or `2-00` for two days",
        )
    return {
        "job_name": env.name,
        "cpus": number(answers, "cpus"),
        "memory_mib": max(1, size_in_bytes(answers["memory"]) >> 20),
        "gpus": gpus(env, answers),
        "level": "static" if env.has_gpu else "import",
        "variables": variables(env, answers),
    }


def _systemd(env: Subject, answers: Answers) -> Mapping[str, object]:
    return {
        "description": description(env),
        "python": f"{answers['prefix']}/bin/python",
        "variables": variables(env, answers),
    }


def gpus(env: Subject, answers: Answers) -> int:
    """How many: as asked for, else one for a CUDA build and none for another.

    Raises:
        InvalidValue: GPUs for a CPU build, which would hold them and not use them.
    """
    if not answers["gpus"]:
        return int(env.has_gpu)
    if env.torch and not env.has_gpu and int(answers["gpus"]):
        raise InvalidValue(
            what="setting `gpus`",
            value=answers["gpus"],
            reason=f"holds GPUs that `{env.name}`, a CPU build, does not use",
            remedy="leave it out, or take a CUDA build",
        )
    return int(answers["gpus"])


def number(answers: Answers, name: str) -> int:
    """A number from 1.

    Raises:
        InvalidValue: it is 0.
    """
    if int(answers[name]) < 1:
        raise InvalidValue(what=f"setting `{name}`", value=answers[name], reason="is less than one")
    return int(answers[name])


GPUS: Final = Field(name="gpus", about="how many GPUs; empty: one for a CUDA build", kind="number")
CPUS: Final = Field(name="cpus", about="how many cores", default="4", kind="number")
MEMORY: Final = Field(name="memory", about="how much memory", default="16Gi", kind="size")

CLUSTERS: Final = (
    Output(
        name="slurm",
        about="prolog, epilog and task prolog for slurm.conf, and a job to send",
        files=(
            OutputFile(template="slurm-prolog.sh.j2", name="prolog.sh", executable=True),
            OutputFile(template="slurm-epilog.sh.j2", name="epilog.sh", executable=True),
            OutputFile(template="slurm-task-prolog.sh.j2", name="task-prolog.sh", executable=True),
            OutputFile(template="slurm-job.sbatch.j2", name="{env}.sbatch", executable=True),
        ),
        fields=(
            _PREFIX,
            _ENVFORGE,
            _HUB,
            Field(
                name="scratch",
                about="a folder on a local disk of each node, for what jobs leave behind",
                default="/var/tmp/envforge-jobs",  # noqa: S108 - made by root, and only root's
                kind="path",
            ),
            GPUS,
            CPUS,
            MEMORY,
            Field(name="time", about="how long a job may run", default="01:00:00"),
            Field(name="partition", about="where it runs; empty: the default", kind="name"),
        ),
        values=_slurm,
        next="sbatch {folder}/{env}.sbatch python train.py",
    ),
    Output(
        name="lmod",
        about="a modulefile for Lmod",
        files=(OutputFile(template="lmod.lua.j2", name="{env}.lua"),),
        fields=(_PREFIX, _HUB),
        values=_lmod,
        next="module use {folder} && module load {env}",
    ),
    Output(
        name="jupyter",
        about="a notebook kernel that works without activation",
        files=(OutputFile(template="jupyter.json.j2", name="kernel.json"),),
        fields=(
            _PREFIX,
            _HUB,
            Field(name="name", about="what notebooks call it; empty: the environment's name"),
        ),
        values=_jupyter,
        next="jupyter kernelspec install --user --name {env} {folder}",
        needs=("ipykernel",),
    ),
    Output(
        name="systemd",
        about="a service that runs a module in the environment, and a timer that verifies it",
        files=(
            OutputFile(template="systemd-service.j2", name="{env}@.service"),
            OutputFile(template="systemd-verify.service.j2", name="{env}-verify.service"),
            OutputFile(template="systemd-verify.timer.j2", name="{env}-verify.timer"),
        ),
        fields=(
            _PREFIX,
            _ENVFORGE,
            _HUB,
            Field(name="user", about="who runs it; empty: an account made for it", kind="name"),
        ),
        values=_systemd,
        next="sudo cp {folder}/{env}[@-]* /etc/systemd/system/ &&"
        " sudo systemctl enable --now {env}-verify.timer",
    ),
)
"""Outputs of this kind."""
