"""Where torch's wheels come from, and which accelerator a set of wheels is for.

PyTorch publishes one index a variant, and labels the builds there with a local version
(`2.6.0+cu126`). The plain build on the package registry carries no label: on Linux it is a CUDA
build, told by what it depends on (PyTorch, "Get started: previous versions"; METADATA of the
wheels).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from envforge.errors import InvalidValue
from envforge.model.lock import LockedPackage

PYTORCH: Final = "pytorch"
SITE: Final = "site"
PYTORCH_WHEELS: Final = "https://download.pytorch.org/whl"
TORCH_FAMILY: Final = frozenset({"torch", "torchvision", "torchaudio", "torchtext"})
"""Built per accelerator, with its label; nothing else may come from a torch index."""

_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?|cuda-toolkit")
_CUDA_WHEEL = re.compile(r"nvidia-.+|cuda-(?:toolkit|bindings)")
_LABEL = re.compile(r"cu\d{2,3}|cpu|rocm[\d.]+|xpu")
_BUNDLED_CUDA: Final = "1.13"
"""Plain Linux wheels before it carry CUDA 10.2 inside, and depend on nothing."""


def torch_index_url(wheel_index: str, accelerator: str) -> str | None:
    """The address torch and its family come from; None: what pip is configured with.

    Args:
        wheel_index: `pytorch`, `site`, an address or a folder. `{accelerator}` in an address is
            replaced, so that a mirror of all of PyTorch's indexes is named once.
        accelerator: `cu126` or `cpu`.

    Raises:
        InvalidValue: none of these.
    """
    if wheel_index == SITE:
        return None
    if wheel_index == PYTORCH:
        return f"{PYTORCH_WHEELS}/{accelerator}"
    address = wheel_index.replace("{accelerator}", accelerator).rstrip("/")
    parts = urlsplit(address)
    if parts.scheme in {"http", "https"} and parts.hostname:
        return address
    if parts.scheme == "file" and parts.path:
        return address
    if wheel_index.startswith(("/", "./", "../", "~")):
        return Path(address).expanduser().absolute().as_uri()
    raise InvalidValue(
        what="wheel index",
        value=wheel_index,
        reason="is neither `pytorch`, `site` nor an address",
        remedy="for example `--wheel-index site`, or `--wheel-index https://host/whl/cu126`",
    )


def torch_accelerator(packages: Iterable[LockedPackage]) -> str | None:
    """`cu126`, `cpu`, `rocm6.2` …: what the torch among these wheels is built for.

    None where there is no torch. The label counts first; without one, the CUDA libraries that
    were resolved with it.
    """
    from packaging.utils import canonicalize_name

    by_name = {canonicalize_name(item.name): item for item in packages if item.manager == "pip"}
    torch = by_name.get(canonicalize_name("torch"))
    if torch is None:
        return None
    label = build_label(torch)
    return label or _unlabelled(torch, by_name.values())


def disagreements(packages: Iterable[LockedPackage], accelerator: str) -> tuple[str, ...]:
    """What in these wheels is for another accelerator than asked for, in words."""
    wheels = [item for item in packages if item.manager == "pip"]
    if not wheels:
        return ()
    from packaging.utils import canonicalize_name

    found = torch_accelerator(wheels)
    reasons = []
    if found is not None and found != accelerator:
        torch = next(item for item in wheels if canonicalize_name(item.name) == "torch")
        reasons.append(f"torch {torch.version}, a build for {found}")
    for item in wheels:
        label = build_label(item) if item.name in TORCH_FAMILY - {"torch"} else None
        if label not in {None, accelerator}:
            reasons.append(f"{item.name} {item.version}")
    return (*reasons, *_runtime_disagreements(wheels, accelerator))


def _runtime_disagreements(wheels: Iterable[LockedPackage], accelerator: str) -> list[str]:
    runtimes = [item for item in wheels if _RUNTIME.fullmatch(item.name)]
    return [
        f"{item.name} {item.version}"
        for item in runtimes
        if accelerator.startswith("cu") and _cuda_label(item.version) != accelerator
    ]


def build_label(package: LockedPackage) -> str | None:
    """The accelerator in the local version, `cu126` of `2.6.0+cu126`; None: no such label."""
    from packaging.version import InvalidVersion, Version

    try:
        local = Version(package.version).local
    except InvalidVersion:
        return None
    found = _LABEL.match(local or "")
    return found[0] if found else None


def _unlabelled(torch: LockedPackage, wheels: Iterable[LockedPackage]) -> str:
    names = list(wheels)
    for item in names:
        if _RUNTIME.fullmatch(item.name):
            return _cuda_label(item.version)
    if any(_CUDA_WHEEL.fullmatch(item.name) for item in names):
        return "CUDA"
    from packaging.version import Version

    if torch.platform.startswith("linux") and Version(torch.version) < Version(_BUNDLED_CUDA):
        return "cu102"
    return "cpu"


def _cuda_label(version: str) -> str:
    from packaging.version import Version

    numbers = Version(version).release
    return f"cu{numbers[0]}{numbers[1]}" if len(numbers) > 1 else f"cu{numbers[0]}"
