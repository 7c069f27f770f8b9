"""What an environment's name and its environment.yml claim, held against each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from envforge.errors import InvalidFile
from envforge.formats.python.wheel_name import parse_wheel_name
from envforge.model.cuda import CPU, CudaVersion, accelerator_label
from envforge.model.lock import Target
from envforge.model.spec import Dependency, EnvironmentSpec, Source

_NAME: Final = re.compile(
    r"(?P<project>[a-z0-9][a-z0-9._-]*)-torch(?P<major>\d)(?P<minor>\d+)-(?P<label>cu\d{2,4}|cpu)"
)
_VERSION: Final = re.compile(r"={0,2}(\d+\.\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What an environment.yml asks for, as far as torch is concerned."""

    project: str
    torch: str
    cuda: CudaVersion | None
    python: str | None
    source: Source


def read_claim(spec: EnvironmentSpec, path: str) -> Claim:
    """Read torch, CUDA, Python and source off an environment.yml.

    Raises:
        InvalidFile: the name is not of our form, torch is missing or has no exact version.
        InvalidValue: torch is asked for by an address that is no wheel's.
    """
    named = _NAME.fullmatch(spec.name)
    if named is None:
        raise InvalidFile(
            path=path,
            mistakes=(f"name: `{spec.name}` is not of the form PROJECT-torchXY-cuZZZ or -cpu",),
            remedy="for example `nlp-bert-torch20-cu118`: the name is a claim that is checked",
        )
    torch = spec.find("pytorch") or spec.find("torch")
    version = _exact(torch)
    if torch is None or version is None:
        what = "`pytorch` or `torch` is not among them" if torch is None else "torch is not pinned"
        raise InvalidFile(
            path=path,
            mistakes=(f"dependencies: {what}",),
            remedy="add for example `- pytorch=2.7.1`, or `torch==2.7.1` below `pip:`",
        )
    label = named["label"]
    return Claim(
        project=named["project"],
        torch=version,
        cuda=None if label == CPU else CudaVersion.parse(label),
        python=_exact(spec.find("python")),
        source=_source(spec, torch),
    )


def _exact(item: Dependency | None) -> str | None:
    """The one version that is asked for; of a wheel's address, the one in the file's name."""
    if item is None:
        return None
    name = unquote(urlsplit(item.url).path).rpartition("/")[2] if item.url else ""
    found = _VERSION.match(str(parse_wheel_name(name).version) if name else item.version)
    return found[1] if found else None


def _source(spec: EnvironmentSpec, torch: Dependency) -> Source:
    if torch.manager == "pip":
        return "wheels"
    if torch.channel == "pytorch" or any(item.name == "pytorch-cuda" for item in spec.conda()):
        return "pytorch"
    return "conda-forge"


def is_claim(name: str) -> bool:
    """Whether a name is of our form, and so says what is in the environment."""
    return _NAME.fullmatch(name) is not None


def contradictions(folder: str, declared: str, target: Target) -> Iterator[str]:
    """How folder, `name:` and what was locked disagree; one clause each."""
    if folder != declared:
        yield f"the folder is `{folder}`, and `name:` is `{declared}`"
    named = _NAME.fullmatch(declared)
    if named is None:
        yield f"`{declared}` is not of the form PROJECT-torchXY-cuZZZ or -cpu"
        return
    major, minor = target.torch.split(".")[:2]
    if (named["major"], named["minor"]) != (major, minor):
        yield f"the name claims torch {named['major']}.{named['minor']}, locked is {target.torch}"
    label = accelerator_label(target.cuda)
    if named["label"] != label:
        yield f"the name claims {named['label']}, locked is {label}"
