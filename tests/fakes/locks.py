"""Locks to compare: a few packages, or whatever hypothesis thinks of."""

from __future__ import annotations

from typing import Any

from fakes.conda_solver import package
from hypothesis import strategies as st

from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.cuda import CudaVersion
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.machine import Platform


def lock(*packages: LockedPackage, **changes: Any) -> Lock:
    """A lock of these, for the platforms they are for."""
    platforms = tuple(dict.fromkeys(item.platform for item in packages)) or ("linux-64",)
    fields = {"platforms": platforms, "channels": ("conda-forge",), "content_hash": {}} | changes
    return conda_lock_yml.normalised(Lock(packages=packages, **fields))


def torch_target(**changes: Any) -> Target:
    """What a lock of torch 2.0.1 for CUDA 11.8 says of itself."""
    fields: dict[str, Any] = {
        "torch": "2.0.1",
        "cuda": CudaVersion(11, 8),
        "cudnn": "8.7.0",
        "python": "3.10",
        "source": "pytorch",
        "min_driver": "450.80.02",
        "architectures": ("3.7", "9.0"),
    }
    return Target(**fields | changes)


def wheel(name: str, version: str, *, platform: Platform = "linux-64", **changes: Any) -> Any:
    """A wheel of the registry."""
    base = package(name, version, "", platform=platform)
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    fields: dict[str, Any] = {
        "url": f"https://files.pythonhosted.org/packages/aa/bb/{'c' * 60}/{file}",
        "depends": (),
    } | changes
    return LockedPackage(
        platform=platform,
        name=name,
        manager="pip",
        version=version,
        sha256=base.sha256,
        **fields,
    )


_NAMES = st.sampled_from(["a", "b", "c", "d", "e", "libf", "py-g"])
_VERSIONS = st.sampled_from(["1.0", "1.1", "1.10", "2.0", "2024a"])
_PLATFORMS = st.sampled_from(["linux-64", "win-64", "osx-arm64"])


@st.composite
def _packages(draw: st.DrawFn) -> LockedPackage:
    depends = tuple(
        f"{name} >={version}" for name, version in draw(st.dictionaries(_NAMES, _VERSIONS)).items()
    )
    platform: Any = draw(_PLATFORMS)
    if draw(st.booleans()):
        wheels: LockedPackage = wheel(draw(_NAMES), draw(_VERSIONS), platform=platform)
        return wheels
    build = draw(st.sampled_from(["h0_0", "h1_1"]))
    return package(draw(_NAMES), draw(_VERSIONS), build, platform=platform, depends=depends)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    """Any lock: packages that need each other or not, several platforms, sizes or none."""
    found = draw(
        st.lists(
            _packages(),
            unique_by=lambda item: (item.platform, item.name, item.manager),
            max_size=12,
        )
    )
    platforms: Any = tuple(sorted({item.platform for item in found})) or ("linux-64",)
    digest = draw(st.sampled_from([None, "a" * 64, "b" * 64]))
    return conda_lock_yml.normalised(
        Lock(
            packages=tuple(found),
            platforms=platforms,
            channels=draw(st.sampled_from([("conda-forge",), ("nvidia", "conda-forge")])),
            content_hash={item: draw(st.sampled_from(["c" * 64, "d" * 64])) for item in platforms},
            inputs_digest=digest,
        )
    )
