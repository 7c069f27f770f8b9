"""What checks of shared objects stand on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable
from envforge.verify.facts import PrefixFacts, Subject
from envforge.verify.facts.linking import Linking
from envforge.verify.facts.packages import Distribution

_WHEEL_FOLDER: Final = re.compile(r"/nvidia/((?!cu\d)\w+)/lib/")
"""Where wheels for CUDA 12 and older put their libraries; those for 13 share one folder."""
_PIN: Final = re.compile(r"nvidia-[\w-]+?\s*\(?(==[\d.]+)")
_WANTED_CUDNN: Final = re.compile(r"nvidia-cudnn(?:-cu\d+)?\s*\(?==\s*([\d.]+)")


def wanted_cudnn(subject: Subject) -> tuple[str, str] | None:
    """The cuDNN that torch was built with, and who says so."""
    prefix = prefix_of(subject)
    lines = (line for item in _torch_distributions(subject) for line in item.requires)
    pins = map(_WANTED_CUDNN.match, lines)
    pin = next((found[1] for found in pins if found), None)
    if pin is not None:
        return pin, "torch's metadata"
    built = next((item for item in prefix.cudnn if item.witness.startswith("build ")), None)
    if built is not None:
        return built.version, built.witness
    target = subject.target
    if target is not None and target.cudnn and target.source != "conda-forge":
        return target.cudnn, "the lock"
    return None


def was_loaded(subject: Subject, path: str) -> bool:
    """Whether the probe has loaded a file, in an import that succeeded."""
    torch = subject.probe.torch if subject.probe else None
    if torch is None or torch.version is None:
        return False
    return any(item == path or item.endswith(f"/{path}") for item in torch.libraries)


def distribution(subject: Subject, path: str) -> str:
    """The package that a file of site-packages belongs to, by the name to install it by."""
    inside = re.split(r"(?:site|dist)-packages/", path)[-1]
    top = re.sub(r"\.libs$", "", inside.partition("/")[0]).partition(".")[0]
    listed = prefix_of(subject).packages.distributions
    owner = next((item.name for item in listed if top in item.top_level), None)
    known = {item.name for item in (*prefix_of(subject).wheels, *prefix_of(subject).conda)}
    plain = re.sub(r"_(\d+_)?(cuda|C)$", "", top).replace("_", "-")
    usual = top.replace("_", "-")
    likely = next((item for item in (usual, f"{usual}-gpu", plain) if item in known), None)
    return owner or likely or plain


def reinstall(subject: Subject, path: str) -> str:
    """Build a package anew for the torch that is here."""
    package = distribution(subject, path)
    return f"pip install --force-reinstall --no-deps --no-build-isolation {package}"


def restore(subject: Subject, path: str) -> str:
    """Bring a library back as its package had it; without a lock, from the wheel it is of."""
    folder = _WHEEL_FOLDER.search(path)
    torch = prefix_of(subject).torch
    major = (torch.cuda or "").partition(".")[0] if torch else ""
    if subject.locked is not None or folder is None or not major:
        return remedies.install(subject)
    name = f"nvidia-{folder[1].replace('_', '-')}-cu{major}"
    asked = (line for item in _torch_distributions(subject) for line in item.requires)
    pin = next((found[1] for line in asked if (found := _PIN.match(line)) and name in line), "")
    return f"pip install --force-reinstall --no-deps {name}{pin}"


def _torch_distributions(subject: Subject) -> Iterator[Distribution]:
    listed = prefix_of(subject).packages.distributions
    return (item for item in listed if item.name == "torch")


def linking_of(subject: Subject) -> Linking:
    linking = prefix_of(subject).linking
    if linking is None:
        if prefix_of(subject).torch is None:
            raise NotApplicable("there are no shared objects to look at")
        raise CannotLook("the shared objects were not read")
    return linking


def prefix_of(subject: Subject) -> PrefixFacts:
    assert subject.prefix is not None  # noqa: S101 - `needs` says so
    return subject.prefix


def absolute(subject: Subject, path: str) -> str:
    return path if path.startswith("/") else f"{prefix_of(subject).prefix}/{path}"


def numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]


def file_name(path: str) -> str:
    return path.rpartition("/")[2]


def is_within(path: str, prefix: PrefixFacts) -> bool:
    """Whether an absolute path lies in the prefix."""
    return any(path.startswith(f"{root.rstrip('/')}/") for root in (prefix.prefix, prefix.real))
