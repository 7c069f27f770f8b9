"""What is written for another tool: the texts, and what its format cannot hold.

Software bills of materials are no text of ours: `team/inventory.py` says what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

from envforge.errors import InvalidValue
from envforge.formats.conda import environment_yml, explicit_writer
from envforge.formats.conda_lock.content_hash import locked_channels
from envforge.formats.packs import mirror_list
from envforge.formats.packs.mirror_list import MirroredFile
from envforge.formats.python import requirements_writer
from envforge.formats.python.platform_marker import platform_marker
from envforge.formats.python.pylock import PylockPackage, PylockWheel, write_pylock
from envforge.formats.python.requirements_writer import Requirement
from envforge.model.export import ExportFile, ExportSubject, ExportTarget, Loss
from envforge.model.lock import Lock, LockedPackage, place_of
from envforge.model.models import LockedModel
from envforge.model.solving import without_credentials
from envforge.model.spec import Dependency, EnvironmentSpec
from envforge.team import pixi_plan
from envforge.team.addresses import channel_of, hub_address
from envforge.team.order import dependencies_first

Files = tuple[tuple[ExportFile, ...], tuple[Loss, ...]]

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_STRANGE: Final = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\]")
"""In names and addresses: what ends a word or a line somewhere."""
_DEFAULT_INDEX: Final = frozenset({"files.pythonhosted.org", "pypi.org", "pypi.python.org"})
"""Hosts whose files every default index has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """The files of an export, not yet written."""

    platforms: tuple[str, ...]
    files: tuple[ExportFile, ...]
    losses: tuple[Loss, ...]


def plan(
    subject: ExportSubject,
    target: ExportTarget,
    *,
    platforms: Sequence[str] = (),
    sha256: bool = False,
) -> ExportPlan:
    """Write an environment in another tool's format; not for bills of materials.

    Args:
        subject: as `prepared` made it.
        target: one of `WRITERS`.
        platforms: only these; empty: all that are locked.
        sha256: in `explicit`, sha256 instead of md5.

    Raises:
        InvalidValue: the format has no place for anything that is locked here.
    """
    chosen = chosen_platforms(subject, platforms)
    files, losses = WRITERS[target](subject, chosen, sha256)
    everywhere = common_losses(subject, target, chosen)
    return ExportPlan(platforms=chosen, files=files, losses=(*losses, *everywhere))


def chosen_platforms(subject: ExportSubject, platforms: Sequence[str]) -> tuple[str, ...]:
    """The platforms to write, in the lock's order.

    Raises:
        InvalidValue: one that is not locked.
    """
    known: tuple[str, ...] = subject.lock.platforms
    for platform in platforms:
        if platform not in known:
            raise InvalidValue(
                what="platform",
                value=platform,
                reason=f"is not locked in `{subject.name}`",
                remedy=f"locked are: {', '.join(known)}",
            )
    return tuple(item for item in known if not platforms or item in platforms)


def prepared(subject: ExportSubject) -> tuple[ExportSubject, tuple[Loss, ...]]:
    """The same without secrets, and without packages that nobody can fetch; and what went.

    Raises:
        InvalidValue: a name or an address would be more than that where it is written: another
            line, an option, a folder above.
    """
    _refuse_strange(subject)
    cleaned, secret, nowhere = [], set(), set()
    for item in subject.lock.packages:
        if not _ADDRESS.match(item.url):
            nowhere.add(item.name)
            continue
        url = without_credentials(item.url.partition("#")[0])
        if url != item.url.partition("#")[0]:
            secret.add(item.name)
        cleaned.append(replace(item, url=url))
    channels = tuple(without_credentials(item) for item in locked_channels(subject.lock.channels))
    if channels != tuple(locked_channels(subject.lock.channels)):
        secret.add("channels")
    lock = replace(subject.lock, packages=tuple(sorted(cleaned, key=place_of)), channels=channels)
    return replace(subject, lock=lock), (
        *_of("credentials were taken out of addresses", secret),
        *_of("left out: no address is known, or it is a folder of one project", nowhere),
    )


def _refuse_strange(subject: ExportSubject) -> None:
    for item in subject.lock.packages:
        names = (item.name, item.version, item.build)
        if any(_STRANGE.search(name) or "/" in name for name in names):
            raise _strange("package", "-".join(names))
        if _STRANGE.search(item.url) or _climbs(unquote(urlsplit(item.url).path)):
            raise _strange("address", without_credentials(item.url))
    for channel in subject.lock.channels:
        if _STRANGE.search(channel):
            raise _strange("channel", without_credentials(channel))
    for model in subject.models.models if subject.models else ():
        for file in model.files:
            if _climbs(file.path) or re.search(r"[\x00-\x1f\x7f]", file.path):
                raise _strange("file of a model", file.path)


def _climbs(path: str) -> bool:
    return ".." in re.split(r"[/\\]", path)


def _strange(what: str, value: str) -> InvalidValue:
    return InvalidValue(
        what=what,
        value=_STRANGE.sub("?", value),
        reason="is none: it holds blanks, control characters, or parts that lead elsewhere",
        remedy="take the lock from where you trust it",
    )


def _of(what: str, names: Iterable[str]) -> tuple[Loss, ...]:
    """What is lost of these; nothing, where there are none."""
    listed = _sorted(names)
    return (Loss(what=what, names=listed),) if listed else ()


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


# --- one function a format ------------------------------------------------------------------


def _explicit(subject: ExportSubject, platforms: Sequence[str], sha256: bool) -> Files:
    files, wheels, unhashed = [], [], []
    for platform in platforms:
        conda = dependencies_first(_conda(subject.lock, platform))
        own_wheels = _wheels(subject.lock, platform)
        text = explicit_writer.write(
            (*conda, *own_wheels), name=subject.name, platform=platform, sha256=sha256
        )
        files.append(ExportFile(name=f"conda-{platform}.lock", text=text))
        wheels += [item.name for item in own_wheels]
        unhashed += [item.name for item in conda if not (item.md5 or item.sha256)]
    return tuple(files), (
        *_of("wheels stand in comments, and conda skips them", wheels),
        *_of("no hash is known, so any bytes are accepted", unhashed),
    )


def _environment_yml(subject: ExportSubject, platforms: Sequence[str], _: bool) -> Files:
    lock = subject.lock
    files = []
    for platform in platforms:
        conda, wheels = _conda(lock, platform), _wheels(lock, platform)
        spec = EnvironmentSpec(
            name=subject.name,
            channels=(*lock.channels, "nodefaults"),
            dependencies=(*(_pinned(item, lock) for item in conda), *map(_addressed, wheels)),
            platforms=(),
            variables=dict(subject.variables),
        )
        header = f"{subject.name} for {platform}: every package, exported by envforge."
        text = environment_yml.write(spec, header)
        files.append(ExportFile(name=f"environment-{platform}.yml", text=text))
    return tuple(files), (
        Loss(what="hashes of conda packages: the channel decides which bytes come"),
    )


def _pinned(item: LockedPackage, lock: Lock) -> Dependency:
    channel = channel_of(item, lock.channels)
    return Dependency(name=item.name, version=f"={item.version}", build=item.build, channel=channel)


def _addressed(item: LockedPackage) -> Dependency:
    digest = f"#sha256={item.sha256}" if item.sha256 else ""
    return Dependency(name=item.name, manager="pip", url=f"{item.url}{digest}")


def _pixi(subject: ExportSubject, platforms: Sequence[str], _: bool) -> Files:
    return pixi_plan.files(subject, platforms), pixi_plan.losses(subject, platforms)


def _pylock(subject: ExportSubject, platforms: Sequence[str], _: bool) -> Files:
    groups = _by_version(subject, platforms, "pylock")
    everywhere = len(platforms) > 1
    packages = [
        _pylock_package(name, version, items, platforms)
        for (name, version), items in groups.items()
    ]
    text = write_pylock(
        [item for item in packages if item.wheels or item.sdist],
        requires_python=_requires_python(subject.lock, platforms),
        environments=[found for item in platforms if (found := platform_marker(item))]
        if everywhere
        else (),
        sizes=True,
    )
    unhashed = [item.name for item in packages if not (item.wheels or item.sdist)]
    return (ExportFile(name="pylock.toml", text=text),), (
        *_of("no sha256 is known, and pylock.toml asks for one: left out", unhashed),
        *_without_conda(subject, platforms),
    )


def _pylock_package(
    name: str, version: str, items: Sequence[LockedPackage], platforms: Sequence[str]
) -> PylockPackage:
    found = dict.fromkeys(
        PylockWheel(url=item.url, sha256=item.sha256, size=item.size)
        for item in items
        if item.sha256
    )
    wheels = tuple(item for item in found if _is_wheel(item.url))
    sources = [item for item in found if not _is_wheel(item.url)]
    return PylockPackage(
        name=name,
        version=version,
        wheels=wheels,
        sdist=sources[0] if sources else None,
        marker=_marker([item.platform for item in items], platforms),
    )


def _requirements(subject: ExportSubject, platforms: Sequence[str], _: bool) -> Files:
    groups = _by_version(subject, platforms, "requirements")
    entries: list[Requirement] = []
    for (name, version), items in groups.items():
        strange = [item for item in items if not _is_on_default_index(item)]
        common = [item for item in items if _is_on_default_index(item)]
        for url in dict.fromkeys(item.url for item in strange):
            same = [item for item in strange if item.url == url]
            entries.append(_requirement(name, version, same, platforms, url=url))
        if common:
            entries.append(_requirement(name, version, common, platforms))
    python = _requires_python(subject.lock, platforms).removeprefix("==")
    header = [
        f"{subject.name}: every wheel, exported by envforge.",
        "    pip install --no-deps --require-hashes -r requirements.txt",
        *([f"For Python {python}"] if python else []),
    ]
    unhashed = [item.name for item in entries if not item.hashes]
    text = requirements_writer.write(entries, header=header)
    return (ExportFile(name="requirements.txt", text=text),), (
        *_of("no sha256 is known, and `--require-hashes` refuses that", unhashed),
        *_without_conda(subject, platforms),
    )


def _requirement(
    name: str,
    version: str,
    items: Sequence[LockedPackage],
    platforms: Sequence[str],
    *,
    url: str = "",
) -> Requirement:
    return Requirement(
        name=name,
        version=version,
        url=url,
        marker=_marker([item.platform for item in items], platforms),
        hashes=_sorted(item.sha256 for item in items if item.sha256),
    )


def _mirror_list(subject: ExportSubject, platforms: Sequence[str], _: bool) -> Files:
    lock = subject.lock
    chosen = [item for item in lock.packages if item.platform in platforms]
    files = {item.path: item for item in map(_mirrored, chosen)}
    for model in subject.models.models if subject.models else ():
        files.update((item.path, item) for item in _mirrored_model(model))
    total = sum(item.size or 0 for item in files.values())
    unknown = sum(item.size is None for item in files.values())
    more = f", and {unknown} of unknown size" if unknown else ""
    header = [f"{subject.name} for {', '.join(platforms)}: {len(files)} files, {total} bytes{more}"]
    unhashed = [item.name for item in chosen if not item.sha256]
    text = mirror_list.write(files.values(), header=header)
    return (ExportFile(name="mirror-list.txt", text=text),), (
        *_of("no sha256 is known, so they cannot be compared", unhashed),
    )


def _mirrored(item: LockedPackage) -> MirroredFile:
    if item.manager == "pip":
        path = f"wheels/{item.filename}"
    else:
        channel = channel_of(item, ())
        folder = channel if "://" not in channel else _folder_of(channel)
        path = f"{folder}/{item.subdir}/{item.filename}"
    return MirroredFile(path=path, url=item.url, sha256=item.sha256, size=item.size)


def _folder_of(channel: str) -> str:
    parts = urlsplit(channel)
    return "/".join(part for part in (parts.netloc, parts.path.strip("/")) if part)


def _mirrored_model(model: LockedModel) -> Iterator[MirroredFile]:
    for item in model.files:
        yield MirroredFile(
            path=f"models/{model.repo.folder}/{model.commit}/{item.path}",
            url=hub_address(model.repo, model.commit, item.path),
            sha256=item.sha256,
            size=item.size,
        )


Writer = Callable[[ExportSubject, Sequence[str], bool], Files]
WRITERS: Final[Mapping[ExportTarget, Writer]] = {
    "explicit": _explicit,
    "environment.yml": _environment_yml,
    "pixi": _pixi,
    "pylock": _pylock,
    "requirements": _requirements,
    "mirror-list": _mirror_list,
}


# --- what they share ------------------------------------------------------------------------


def _conda(lock: Lock, platform: str) -> tuple[LockedPackage, ...]:
    return tuple(item for item in lock.for_platform(platform) if item.manager == "conda")


def _wheels(lock: Lock, platform: str) -> tuple[LockedPackage, ...]:
    return tuple(item for item in lock.for_platform(platform) if item.manager == "pip")


def _by_version(
    subject: ExportSubject, platforms: Sequence[str], target: str
) -> dict[tuple[str, str], list[LockedPackage]]:
    """The wheels by name and version, sorted.

    Raises:
        InvalidValue: there are none.
    """
    groups: dict[tuple[str, str], list[LockedPackage]] = {}
    for item in subject.lock.packages:
        if item.manager == "pip" and item.platform in platforms:
            groups.setdefault((item.name, item.version), []).append(item)
    if not groups:
        raise InvalidValue(
            what="export",
            value=target,
            reason=f"holds wheels only, and `{subject.name}` locks none",
            remedy="`explicit`, `environment.yml` and `pixi` hold conda packages;"
            " `envforge create … --source wheels` makes an environment of wheels",
        )
    return dict(sorted(groups.items()))


def _marker(own: Iterable[str], platforms: Sequence[str]) -> str:
    """Where a wheel is installed; empty: on all platforms of the export."""
    here = [item for item in platforms if item in set(own)]
    if len(here) == len(platforms):
        return ""
    markers = [found for item in here if (found := platform_marker(item))]
    return markers[0] if len(markers) == 1 else " or ".join(f"({item})" for item in markers)


def _requires_python(lock: Lock, platforms: Sequence[str]) -> str:
    versions = {
        ".".join(found.version.split(".")[:2])
        for platform in platforms
        if (found := lock.find("python", platform)) is not None
    }
    return f"=={versions.pop()}.*" if len(versions) == 1 else ""


def _is_wheel(url: str) -> bool:
    return urlsplit(url).path.endswith(".whl")


def _is_on_default_index(item: LockedPackage) -> bool:
    return urlsplit(item.url).hostname in _DEFAULT_INDEX and "+" not in item.version


def _without_conda(subject: ExportSubject, platforms: Sequence[str]) -> tuple[Loss, ...]:
    names = [
        item.name
        for item in subject.lock.packages
        if item.manager == "conda" and item.platform in platforms
    ]
    return _of("conda packages: the format holds wheels only", names)


_WITH_MODELS: Final = frozenset({"mirror-list", "sbom", "cyclonedx", "spdx"})
_WITH_VARIABLES: Final = frozenset({"environment.yml", "pixi"})
_FOR_ONE_MACHINE: Final = frozenset({"explicit", "environment.yml", "pylock", "requirements"})


def common_losses(
    subject: ExportSubject, target: ExportTarget, platforms: Sequence[str]
) -> tuple[Loss, ...]:
    """What several formats have no place for."""
    lock, models = subject.lock, subject.models.models if subject.models else ()
    local = [
        item.name
        for item in lock.packages
        if item.platform in platforms and item.url.startswith("file:")
    ]
    machine = [
        f"{item.name} {item.version}"
        for platform in platforms
        for item in subject.virtual.get(platform, ())
    ]
    return (
        *_of("they lie on this machine, and nobody else can fetch them", local),
        *_of(
            "models: `--to sbom` and `--to mirror-list` hold them",
            [item.repo.shown for item in models if target not in _WITH_MODELS],
        ),
        *_of(
            "variables that activation sets",
            subject.variables if target not in _WITH_VARIABLES else (),
        ),
        *_of("the machine it is for", machine if target in _FOR_ONE_MACHINE else ()),
    )
