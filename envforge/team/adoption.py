"""Which lines of environment.yml somebody else's environment comes to. Pure.

A lock names everything, environment.yml only what is asked for: where the source does not say
which that is, it is what nothing else depends on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final

from envforge.formats import archive_name
from envforge.formats.conda import conda_spec
from envforge.model.imported import DEFAULT_ENVIRONMENT, ImportedEnvironment
from envforge.model.lock import LockedPackage
from envforge.model.solving import without_credentials
from envforge.model.spec import Dependency
from envforge.team.addresses import ANACONDA, OWN_CHANNELS, PUBLIC
from envforge.team.update_plan import CLAIM

CLAIMED: Final = CLAIM | {"python", "python_abi", "libtorch", "pytorch-mutex"}
"""What the name of the environment stands for, and Python; those lines are made anew."""
_WITH_TORCH: Final = re.compile(
    r"nvidia-.*-cu\d+|nvidia-(?:nccl|cudnn|cublas)\b.*|(?:pytorch-)?triton"
)
"""Wheels that torch's own metadata asks for in the versions it was built with."""
_SUFFIX: Final = re.compile(r"-(?:torch|pytorch)[\d.]+(?:-(?:cu(?:da)?[\d.]+|cpu))?$")
_ENDINGS: Final = re.compile(
    r"(?:[.-](?:conda-lock|pixi|explicit|lock|locked|v\d|yml|yaml|toml|txt|in|dockerfile))+$",
    re.IGNORECASE,
)
_ACCELERATOR: Final = re.compile(r"(?:gpu|cpu|cuda|cu)[-\d.]*", re.IGNORECASE)
_ADOPTED: Final = "adopted"
_LONGEST: Final = 40
"""Characters: the claim comes behind it, and 64 are the limit."""
_NAMELESS: Final = frozenset(
    {
        *("", DEFAULT_ENVIRONMENT, "base", "root", "env", "environment", "envs", "conda-lock"),
        *("pixi", "pylock", "requirements", "dockerfile", "containerfile", "explicit", "spec-file"),
        *("pyproject", "conda", "constraints", "conda-linux-64", "docker", "locks"),
    }
)
"""Names that say what kind of file or folder it is."""
_DEFAULTS: Final = ("defaults", "main", "r", "msys2", "pkgs/main", "pkgs/r", "anaconda")
_DEFAULTS_HOST: Final = ANACONDA.removeprefix("https://")
_USER_PART: Final = re.compile(r"(?<=://)[^/@]*@")
_TORCH_INDEX: Final = re.compile(r"download\.pytorch\.org/whl")
_DEFAULT_INDEX: Final = re.compile(r"https://pypi\.(?:org|python\.org)/simple/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """What environment.yml is to ask for beside torch, CUDA and Python."""

    conda: tuple[Dependency, ...]
    pip: tuple[Dependency, ...]
    not_carried: tuple[str, ...]


def project_name(environment: str, origin: str, *, is_pixi: bool = False) -> str:
    """A project's name: the environment's own, else the file's, else that of its folder.

    Always one that may become a folder. pixi's environments are parts of a project, and `gpu`
    says nothing that the claim does not.
    """
    path = PurePath(origin)
    places = (_ENDINGS.sub("", path.name), *reversed(path.parts[:-1]))
    named = (clean for name in places if (clean := _clean(name)))
    if not is_pixi:
        return _clean(environment) or next(named, _ADOPTED)
    part = "" if _ACCELERATOR.fullmatch(environment) else _clean(environment)
    return "-".join(filter(None, (next(named, _ADOPTED), part)))[:_LONGEST].strip("._-")


def _clean(name: str) -> str:
    """A name that may become a folder; empty: it says only what kind of thing this is."""
    plain = _SUFFIX.sub("", name.lower())
    clean = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:_LONGEST]
    return "" if clean in _NAMELESS else clean


# --- what was claimed -----------------------------------------------------------------------


def as_packages(environment: ImportedEnvironment, platform: str) -> tuple[LockedPackage, ...]:
    """Direct dependencies as if they were locked: what they say of torch, CUDA and Python.

    Versions are those asked for, without operators; a torch from an index for one CUDA gets an
    address on it, which is where a wheel says what it is built for.
    """
    channels = [channel_name(item) for item in environment.channels]
    return tuple(
        _as_package(item, platform, channels, environment.indexes)
        for item in environment.dependencies
    )


def _as_package(
    item: Dependency, platform: str, channels: Sequence[str], indexes: Sequence[str]
) -> LockedPackage:
    url = item.url or ""
    if item.manager == "conda":
        channel = item.channel or ("pytorch" if "pytorch" in channels else "conda-forge")
        url = f"{PUBLIC}/{channel_name(channel)}/{platform}/"
    elif not url:
        url = next((f"{index.rstrip('/')}/" for index in indexes if _TORCH_INDEX.search(index)), "")
    named = archive_name.parse_python(item.url.partition("#")[0]) if item.url else None
    return LockedPackage(
        platform=platform,
        name=item.name,
        manager=item.manager,
        version=named.version if named else plain_version(item.version),
        build=item.build.replace("*", "_"),
        url=url,
        sha256="",
    )


def plain_version(spec: str) -> str:
    """`2.0.1` of `=2.0.1`, `==2.0.1+cu118`, `2.0.1.*`; empty for a range."""
    found = re.fullmatch(r"={0,3}\s*(?P<version>\d[^\s,|<>=!~*]*?)(?:\.?\*)?", spec)
    return found["version"].rstrip(".") if found else ""


# --- what was asked for ---------------------------------------------------------------------


def direct(environment: ImportedEnvironment, platform: str, *, wheels: bool) -> Direct:
    """The lines for environment.yml.

    Args:
        environment: as its source tells it.
        platform: whose versions count.
        wheels: torch is one; then what its wheel brings along is left out.
    """
    locked = environment.lock.for_platform(platform) if environment.lock else ()
    asked = environment.dependencies
    notes: list[str] = []
    found: dict[str, list[Dependency]] = {"conda": [], "pip": []}
    for manager, into in found.items():
        own = [item for item in asked if item.manager == manager] or roots(
            locked, manager, environment.local
        )
        for item in own:
            if item.name in CLAIMED or item.name[:1] == "_" or item.name in environment.local:
                continue
            if manager == "pip" and _WITH_TORCH.fullmatch(item.name):
                continue
            pinned = _pinned(item, locked)
            plain = _USER_PART.sub("", pinned.url or "") or None
            if plain != pinned.url:
                notes.append(f"the credentials of `{item.name}`'s address: keep them out of files")
            into.append(replace(pinned, url=plain))
    conda_names = {item.name for item in found["conda"]}
    doubled = [item for item in found["pip"] if item.name in conda_names]
    notes += [f"the wheel `{item.name}`: it is a conda package already" for item in doubled]
    pip = tuple(item for item in found["pip"] if item not in doubled)
    if not wheels:
        family = [item for item in pip if item.name in ("torchvision", "torchaudio")]
        notes += [f"the wheel `{item.name}`: torch is a conda package here" for item in family]
        pip = tuple(item for item in pip if item not in family)
    return Direct(conda=tuple(found["conda"]), pip=pip, not_carried=tuple(notes))


def roots(
    packages: Collection[LockedPackage], manager: str, local: Collection[str] = ()
) -> list[Dependency]:
    """What nothing else depends on, in exact versions; everything where nobody says of what.

    What only a package of `local` needs counts: that one is not carried over, and wants it later.
    """
    needed = {
        spec.partition(" ")[0]
        for item in packages
        if item.manager == manager and item.name not in local
        for spec in item.depends
    }
    return [
        Dependency(
            name=item.name,
            version=f"={item.version}" if manager == "conda" else f"=={item.version}",
            channel=channel_name(item.channel_url) if _is_foreign(item) else None,
            manager=item.manager,
        )
        for item in packages
        if item.manager == manager and item.name not in needed and item.version
    ]


def knows_dependencies(packages: Iterable[LockedPackage]) -> bool:
    """Whether any conda package says what it needs: `@EXPLICIT` lists do not."""
    conda = [item for item in packages if item.manager == "conda"]
    return not conda or any(item.depends for item in conda)


def _is_foreign(item: LockedPackage) -> bool:
    """Whether it comes from a channel that nobody searches unless told."""
    url = archive_name.channel_of(item.url)
    name = channel_name(url)
    return bool(url) and not is_defaults(url) and name not in OWN_CHANNELS and "/t/" not in url


def _pinned(item: Dependency, locked: Sequence[LockedPackage]) -> Dependency:
    """The exact version that the source locked; what was asked for stays as a comment.

    A build is the source channel's own, and goes; so does a local version, which names an index.
    """
    found = next(
        (one for one in locked if one.name == item.name and one.manager == item.manager), None
    )
    own_channel = item.channel and channel_name(item.channel) not in OWN_CHANNELS
    channel = channel_name(item.channel) if item.channel and own_channel else None
    item = replace(item, build="", channel=None if channel in _DEFAULTS else channel, comment=None)
    if found is None or not found.version or item.url:
        return replace(item, version=_public(item.version, item.manager))
    exact = _public(found.version, item.manager)
    operator = "=" if item.manager == "conda" else "=="
    already = plain_version(item.version) == exact
    comment = None if already else f"asked: {item.version or 'any'}"
    return replace(item, version=f"{operator}{exact}", comment=comment)


def _public(version: str, manager: str) -> str:
    return re.sub(r"\+[A-Za-z0-9.]+", "", version) if manager == "pip" else version


# --- channels and indexes ---------------------------------------------------------------------


def channel_name(channel: str) -> str:
    """A channel as people write it: its name on anaconda.org, else its address, no credentials."""
    plain = _public_address(channel)
    if _DEFAULTS_HOST in plain:
        return "defaults"
    return plain.removeprefix(f"{PUBLIC}/").removeprefix("https://anaconda.org/")


def _public_address(address: str) -> str:
    if "://" not in address:
        return address.rstrip("/")
    try:
        return without_credentials(address)
    except ValueError:  # no address that anybody could read
        return re.sub(r"//[^/]*@", "//", address).rstrip("/")


def is_defaults(channel: str) -> bool:
    """Whether it is one of Anaconda's own, which have terms of use."""
    return channel_name(channel) in _DEFAULTS


def foreign_channels(channels: Iterable[str]) -> tuple[str, ...]:
    """Those that envforge does not search by itself, in the order of the source."""
    names = (channel_name(item) for item in channels if item)
    return tuple(
        dict.fromkeys(name for name in names if name not in OWN_CHANNELS and name not in _DEFAULTS)
    )


def lost_on_the_way(environment: ImportedEnvironment) -> Iterator[str]:
    """What the source says, and environment.yml cannot."""
    yield from environment.notes
    for name in environment.local:
        yield f"`{name}`: a folder or repository; install it afterwards, with `pip install`"
    for channel in dict.fromkeys(environment.channels):
        if is_defaults(channel):
            yield "channel `defaults`, which has terms of use; conda-forge has its place"
        elif _public_address(channel) != channel.rstrip("/"):
            yield f"the credentials of channel `{channel_name(channel)}`: keep them out of files"
    for index in environment.indexes:
        if not _TORCH_INDEX.search(index) and not _DEFAULT_INDEX.fullmatch(index):
            yield (
                f"wheel index `{_public_address(index)}`: only torch has one of its own"
                " (`--wheel-index`), all else is from pip's"
            )


# --- pins that do not hold any more -----------------------------------------------------------


def loosened(item: Dependency) -> Dependency | None:
    """The next wider wish: `=1.26.4`, then `=1.26`, then any; None: it is as wide as can be.

    What it was stays as a comment; not as the range that was asked for, which `update` reads again.
    """
    if not item.version:
        return None
    version = plain_version(item.version)
    parts = version.split(".")
    wider = ""
    if len(parts) > 2:
        minor = ".".join(parts[:2])
        wider = f"={minor}" if item.manager == "conda" else f"=={minor}.*"
    comment = item.comment or ""
    if version and "was " not in comment:
        comment = "; ".join(filter(None, (comment, f"was {version}")))
    return replace(item, version=wider, comment=comment or None)


def fitting(item: Dependency, available: Collection[str]) -> Dependency | None:
    """The narrowest wish of `loosened` that some version there is meets; None: there is none."""
    wish: Dependency | None = item
    while wish is not None and wish.version:
        version = plain_version(wish.version)
        if not version or any(f"{found}.".startswith(f"{version}.") for found in available):
            return wish
        wish = loosened(wish)
    return wish if available else None


def mentioned(explanation: str, names: Collection[str]) -> frozenset[str]:
    """The names that a solver's reasons speak of."""
    words = set(re.findall(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", explanation))
    spoken = {word.lower().rstrip(".") for word in words}
    return frozenset(name for name in names if name in spoken)


def same_versions(
    old: Sequence[LockedPackage], new: Mapping[tuple[str, str], LockedPackage]
) -> int:
    """How many packages of a lock stand in another in the same version."""
    return sum(
        1
        for item in old
        if (found := new.get((item.platform, item.name)))
        and found.version.partition("+")[0] == item.version.partition("+")[0]
    )


def written(item: Dependency) -> str | None:
    """The line for environment.yml; None: our grammar has none for it."""
    from envforge.errors import InvalidValue

    text = conda_spec.format_dependency(item)
    try:
        (conda_spec.parse_pip if item.manager == "pip" else conda_spec.parse_line)(text)
    except InvalidValue:
        return None
    return text
