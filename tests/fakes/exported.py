"""An environment with one of everything that formats differ in: what exporters are given.

Two platforms, two channels and a private one, a noarch package, wheels with and without a label
and for one platform only, variables, a described machine, a model and a dataset.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from envforge.model.cuda import CudaVersion
from envforge.model.export import ExportSubject
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.machine import Platform
from envforge.model.models import LockedModel, ModelFile, ModelRequest, ModelsLock, Repo
from envforge.model.spec import Dependency, EnvironmentSpec, VirtualPackage

FORGE = "https://conda.anaconda.org/conda-forge"
PYTORCH = "https://conda.anaconda.org/pytorch"
PRIVATE = "https://conda.example.org/team/tools"
TORCH_WHEELS = "https://download.pytorch.org/whl/cu126"
FILES = "https://files.pythonhosted.org/packages"
PLATFORMS: tuple[Platform, ...] = ("linux-64", "win-64")


def digest(seed: str, length: int = 64) -> str:
    """A hash that hangs on the seed only."""
    import hashlib

    return hashlib.sha256(seed.encode()).hexdigest()[:length]


def conda(
    name: str,
    version: str = "1.0",
    build: str = "h0_0",
    *,
    channel: str = FORGE,
    platform: str = "linux-64",
    subdir: str | None = None,
    ending: str = ".conda",
    **fields: Any,
) -> LockedPackage:
    """A conda package with an address, hashes and a size."""
    url = f"{channel}/{subdir or platform}/{name}-{version}-{build}{ending}"
    values: dict[str, Any] = {
        "md5": digest(url, 32),
        "sha256": digest(url),
        "size": len(url) * 1000,
    }
    return LockedPackage(
        platform=platform,
        name=name,
        version=version,
        build=build,
        url=url,
        **{**values, **fields},
    )


def wheel(name: str, version: str, url: str, *, platform: str = "linux-64", **fields: Any) -> Any:
    """A wheel with an address and a sha256."""
    values: dict[str, Any] = {"sha256": digest(url), "size": 2000}
    return LockedPackage(
        platform=platform,
        name=name,
        manager="pip",
        version=version,
        url=url,
        **{**values, **fields},
    )


def _packages(platform: Platform) -> list[LockedPackage]:
    tag = "linux_x86_64" if platform == "linux-64" else "win_amd64"
    torch = f"{TORCH_WHEELS}/torch-2.7.1%2Bcu126-cp311-cp311-{tag}.whl"
    found = [
        conda("python", "3.11.9", "hb_0_cpython", platform=platform, depends=("openssl >=3,<4",)),
        conda("openssl", "3.4.0", "h1_2", platform=platform),
        conda(
            "numpy",
            "1.26.4",
            "py311h1_0",
            platform=platform,
            depends=("python >=3.11,<3.12.0a0", "python_abi 3.11.* *_cp311", "__glibc >=2.17"),
        ),
        conda(
            "python_abi",
            "3.11",
            "5_cp311",
            platform=platform,
            subdir="noarch",
            depends=("python 3.11.*",),
        ),
        conda(
            "six", "1.17.0", "pyhd8ed1ab_0", platform=platform, subdir="noarch", ending=".tar.bz2"
        ),
        conda("helper", "0.2", "0", platform=platform, channel=PRIVATE, depends=("six",)),
        wheel(
            "torch",
            "2.7.1+cu126",
            torch,
            platform=platform,
            depends=("filelock", "numpy >=1.21"),
        ),
        wheel("filelock", "3.18.0", f"{FILES}/filelock-3.18.0-py3-none-any.whl", platform=platform),
    ]
    if platform == "linux-64":
        url = f"{FILES}/triton-3.3.1-cp311-cp311-manylinux_2_28_x86_64.whl"
        found.append(wheel("triton", "3.3.1", url))
    return found


def lock() -> Lock:
    """What the environment is locked to."""
    return Lock(
        packages=tuple(sorted(item for name in PLATFORMS for item in _packages(name))),
        platforms=PLATFORMS,
        channels=(PRIVATE, "conda-forge"),
        content_hash={name: digest(name) for name in PLATFORMS},
        target=Target(
            torch="2.7.1",
            cuda=CudaVersion(12, 6),
            cudnn="9.5.1",
            python="3.11.9",
            source="wheels",
            min_driver="525.60.13",
            architectures=("8.0", "9.0"),
        ),
    )


def spec() -> EnvironmentSpec:
    """What was asked for."""
    return EnvironmentSpec(
        name="x-torch27-cu126",
        channels=(PRIVATE, "conda-forge", "nodefaults"),
        dependencies=(
            Dependency(name="python", version="=3.11.9"),
            Dependency(name="numpy", version=">=1.26,<2", build="py311*"),
            Dependency(name="helper", channel=PRIVATE),
            Dependency(name="torch", version="==2.7.1", manager="pip"),
            Dependency(name="filelock", version=">=3", manager="pip", extras=("testing",)),
            Dependency(
                name="triton",
                version="==3.3.1",
                manager="pip",
                marker="sys_platform == 'linux'",
            ),
        ),
        platforms=PLATFORMS,
    )


def models() -> ModelsLock:
    """A model with two files, and a dataset."""
    files = tuple(
        ModelFile(path=path, size=size, sha256=digest(path), blob=digest(path))
        for path, size in (("config.json", 570), ("sub dir/model.safetensors", 4096))
    )
    return ModelsLock(
        models=(
            LockedModel(
                request=ModelRequest(repo=Repo(kind="dataset", id="org/corpus")),
                commit="c" * 40,
                files=files[:1],
            ),
            LockedModel(
                request=ModelRequest(repo=Repo(id="Org/Bert-Base")), commit="a" * 40, files=files
            ),
        )
    )


def subject(**changes: Any) -> ExportSubject:
    """All of it."""
    whole = ExportSubject(
        name="x-torch27-cu126",
        lock=lock(),
        spec=spec(),
        virtual={
            "linux-64": (
                VirtualPackage(name="__cuda", version="12.6"),
                VirtualPackage(name="__glibc", version="2.28"),
                VirtualPackage(name="__archspec", version="1", build="x86_64"),
            ),
            "win-64": (
                VirtualPackage(name="__cuda", version="12.6"),
                VirtualPackage(name="__win", version="10"),
            ),
        },
        variables={"TOKENIZERS_PARALLELISM": "false"},
        models=models(),
    )
    return replace(whole, **changes)


def with_packages(*packages: LockedPackage) -> ExportSubject:
    """One platform with these packages, and nothing else."""
    platforms = tuple(dict.fromkeys(item.platform for item in packages))
    changed = replace(lock(), packages=tuple(sorted(packages)), platforms=platforms, channels=())
    return ExportSubject(name="y", lock=changed)
