"""`check`: whether locks are current and sound, without a solver and without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from envforge.adapters import channels
from envforge.adapters.environments import (
    CONDA_LOCK_YML,
    ENVIRONMENT_YML,
    FILES,
    MODELS_LOCK_YML,
    MODELS_YML,
    VIRTUAL_PACKAGES_YML,
)
from envforge.adapters.files import is_folder, is_there, read_text, write_text
from envforge.adapters.version_rules import RealVersionRules
from envforge.errors import EnvforgeError, HostileRepo, InvalidFile, InvalidValue, WrongBuild
from envforge.forge.workplace import Workplace
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.checked import LockFinding, LockReport
from envforge.model.lock import Lock, Target
from envforge.model.machine import PLATFORMS, Platform
from envforge.model.solving import without_credentials
from envforge.model.spec import TORCH_NAMES, VirtualPackage
from envforge.team import canonical, lock_checks, secrets
from envforge.team.lock_checks import LockSubject

if TYPE_CHECKING:
    from envforge.formats.conda.environment_yml import EnvironmentDocument

_SIZES: Final = re.compile(r"(?<=\n    envforge\.sizes: \|-\n)(?:      [^\n]*\n)+")
_SCANNED: Final = (ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML, MODELS_YML)
"""Files beside a lock that people write, and so write secrets into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A lock to check."""

    name: str
    folder: Path
    lock: Path
    is_environment: bool
    """Whether the folder's other files belong to it."""


@dataclass(slots=True)
class _Read:
    """The files of one place, as far as they can be read."""

    lock: Lock | None = None
    text: str = ""
    document: EnvironmentDocument | None = None
    virtual: Mapping[Platform, tuple[VirtualPackage, ...]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    findings: list[LockFinding] = field(default_factory=list)
    unproven: dict[str, str] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return conda_lock_yml.is_ours(self.text)


def check(
    workplace: Workplace, named: Sequence[str] = (), *, fix: bool = False
) -> tuple[LockReport, ...]:
    """Check what was named, or all environments.

    Args:
        workplace: where environments lie.
        named: environments by name or folder; files of one (as a pre-commit hook passes them);
            any conda-lock.yml.
        fix: mend first what needs no decision.

    Raises:
        NoSuchEnvironment, InvalidValue: there is no such thing, or nothing to check at all.
    """
    places = list(dict.fromkeys(_places(workplace, named)))
    if not places:
        raise InvalidValue(
            what="folder of environments",
            value=str(workplace.environments.root),
            reason="holds no environment",
            remedy="name a lock, or the folder with `--envs`",
        )
    return tuple(_report(workplace, place, fix=fix) for place in places)


def _places(workplace: Workplace, named: Sequence[str]) -> Iterator[_Place]:
    environments = workplace.environments
    if not named:
        for name in environments.names():
            yield _environment(environments.folder(name), name)
    for text in named:
        path = Path(text).expanduser()
        if path.name not in FILES and is_there(path) and not is_folder(path):
            yield _Place(name=text, folder=path.parent, lock=path, is_environment=False)
        elif is_folder(path) and is_there(path / CONDA_LOCK_YML):
            yield _environment(path.resolve(), text)
        else:
            folder = environments.locate(text)
            yield _environment(folder, folder.name)


def _environment(folder: Path, name: str) -> _Place:
    return _Place(name=name, folder=folder, lock=folder / CONDA_LOCK_YML, is_environment=True)


def _report(workplace: Workplace, place: _Place, *, fix: bool) -> LockReport:
    read = _read(place)
    fixed: tuple[str, ...] = ()
    if fix and read.lock is not None:
        text = _mended(workplace, read, read.lock)
        if text != read.text:
            write_text(place.lock, text)
            read, fixed = _read(place), (place.lock.name,)
    found: tuple[LockFinding, ...] = ()
    if read.lock is not None:
        subject = _subject(workplace, place, read, read.lock)
        found = lock_checks.run(subject, RealVersionRules())
    looked = tuple(lock_checks.CHECKS) if read.lock is not None else ()
    return LockReport(
        name=place.name,
        path=place.folder if place.is_environment else place.lock,
        findings=(*read.findings, *found),
        checked=tuple(name for name in looked if name not in read.unproven),
        unproven=tuple(read.unproven.items()),
        fixed=fixed,
        packages=len(read.lock.packages) if read.lock else 0,
        platforms=read.lock.platforms if read.lock else (),
    )


# --- what is there --------------------------------------------------------------------------


def _read(place: _Place) -> _Read:
    read = _Read()
    if not is_there(place.lock):
        missing = f"there is no {CONDA_LOCK_YML}"
        remedy = f"envforge lock {place.name}"
        read.findings.append(LockFinding(check="lock-stale", message=missing, remedy=remedy))
        return read
    try:
        read.text = read_text(place.lock)
        read.lock = conda_lock_yml.read(read.text, str(place.lock))
    except EnvforgeError as error:
        read.findings.append(_unreadable(error, place.lock.name))
        return read
    for name in _SCANNED if place.is_environment else ():
        if is_there(place.folder / name):
            read.texts[name] = read_text(place.folder / name)
    if ENVIRONMENT_YML in read.texts:
        _read_sources(place, read)
    else:
        read.unproven["lock-stale"] = f"{_sources(read.lock)}: not beside it"
    return read


def _sources(lock: Lock) -> str:
    return f"what it was made from ({', '.join(lock.sources)})" if lock.sources else "its source"


def _unreadable(error: EnvforgeError, file: str) -> LockFinding:
    mistakes = error.mistakes if isinstance(error, InvalidFile) else (str(error),)
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return LockFinding(
        check="readable",
        message=f"{mistakes[0]}{more}",
        remedy=error.hint or "mend the file",
        file=file,
    )


def _read_sources(place: _Place, read: _Read) -> None:
    """environment.yml and virtual-packages.yml; of a lock of others, only if we can read them."""
    from envforge.formats.conda import environment_yml, virtual_packages_yml

    path = place.folder / ENVIRONMENT_YML
    try:
        read.document = environment_yml.read(
            read.texts[ENVIRONMENT_YML], str(path), need_platforms=read.is_ours
        )
        virtual = read.texts.get(VIRTUAL_PACKAGES_YML)
        if virtual is not None:
            file = str(place.folder / VIRTUAL_PACKAGES_YML)
            read.virtual = virtual_packages_yml.read(virtual, file)
    except InvalidFile as error:
        finding = _unreadable(error, Path(error.path).name)
        if read.is_ours:
            read.findings.append(finding)
        read.unproven["lock-stale"] = f"{finding.file}: {finding.message}"


# --- what the checks need to know -----------------------------------------------------------


def _subject(workplace: Workplace, place: _Place, read: _Read, lock: Lock) -> LockSubject:
    claims = _claims(lock)
    document = read.document
    return LockSubject(
        name=place.name,
        lock=lock,
        header=_header(read.text),
        is_ours=read.is_ours,
        spec=document.spec if document else None,
        virtual=read.virtual,
        texts=read.texts,
        stale=_stale(read, lock),
        stale_models=tuple(_stale_models(workplace, place, read)),
        contradictions=tuple(_contradictions(place, read, lock, claims)),
        claims=claims,
        mixed=dict(_mixed(lock, claims)),
        known=_known(workplace, read, lock),
        is_laid_out=not read.is_ours or conda_lock_yml.is_laid_out(lock, read.text),
    )


def _header(text: str) -> str:
    """What stands before the packages; of sizes, which are nothing but numbers, the lines alone."""
    header = text.partition("\npackage:")[0]
    return _SIZES.sub(lambda found: "\n" * found[0].count("\n"), header)


def _claims(lock: Lock) -> dict[str, Target | None]:
    """What the packages amount to, where there is a torch: the tables take their time."""
    if not any(item.name in TORCH_NAMES for item in lock.packages):
        return {}
    from envforge.verify.lock_claim import claim_of

    return {platform: claim_of(lock.packages, platform) for platform in lock.platforms}


def _stale(read: _Read, lock: Lock) -> tuple[str, ...]:
    if read.document is None:
        return ()
    from envforge.solve import current

    if lock.inputs_digest is not None:
        return current.is_current(lock, read.document, read.virtual)
    return _stale_of_others(read, lock, read.document)


def _stale_of_others(read: _Read, lock: Lock, document: EnvironmentDocument) -> tuple[str, ...]:
    """By conda-lock's content hash; where that is another, by what can be seen plainly.

    The hash also depends on the version of conda-lock and on virtual packages that a lock does
    not tell, so another hash alone proves nothing.
    """
    from envforge.formats.conda_lock import content_hash
    from envforge.formats.conda_lock.conda_lock_defaults import DEFAULTS
    from envforge.solve import current

    if any(Path(source).name != ENVIRONMENT_YML for source in lock.sources):
        read.unproven["lock-stale"] = f"{_sources(lock)} is more than {ENVIRONMENT_YML}"
        return ()
    spec = document.spec
    if not spec.platforms:
        spec = replace(spec, platforms=lock.platforms)
        document = replace(document, spec=spec)
    # osx-64, which is not ours to lock for, has a hash of its own making; the sources are the same
    judged = tuple(item for item in PLATFORMS if item in lock.platforms)
    wanted = {platform: lock.content_hash.get(platform) for platform in judged}
    for virtual in (read.virtual, DEFAULTS):
        if (
            judged
            and content_hash.content_hashes(replace(spec, platforms=judged), virtual) == wanted
        ):
            return ()
    plain = tuple(dict.fromkeys(current.disagreements(lock, document)))
    if not plain:
        read.unproven["lock-stale"] = (
            "its content hash is of another version of conda-lock, or for other virtual packages"
        )
    return plain


def _stale_models(workplace: Workplace, place: _Place, read: _Read) -> Iterator[str]:
    has_models = MODELS_YML in read.texts or is_there(place.folder / MODELS_LOCK_YML)
    if not place.is_environment or not has_models:
        return
    from envforge.forge.caching import model_files

    try:
        yield from model_files.read(workplace, place.folder).disagreements
    except (InvalidFile, HostileRepo) as error:
        file = Path(error.path).name if isinstance(error, InvalidFile) else MODELS_LOCK_YML
        read.findings.append(_unreadable(error, file))


def _contradictions(
    place: _Place, read: _Read, lock: Lock, claims: Mapping[str, Target | None]
) -> Iterator[str]:
    """A lock of ours always bears a name that claims something; others may."""
    target = lock.target or next((item for item in claims.values() if item is not None), None)
    if not place.is_environment or read.document is None or target is None:
        return
    from envforge.solve import claim

    name = read.document.spec.name
    if read.is_ours or claim.is_claim(name):
        yield from claim.contradictions(place.folder.name, name, target)


def _mixed(lock: Lock, claims: Mapping[str, Target | None]) -> Iterator[tuple[str, str]]:
    for platform, told in claims.items():
        if told is None:
            continue
        from envforge.solve import builds

        try:
            builds.assert_build(
                lock.for_platform(platform), platform=platform, cuda=told.cuda, source=told.source
            )
        except WrongBuild as error:
            yield platform, error.found


def _known(workplace: Workplace, read: _Read, lock: Lock) -> canonical.Known:
    names = {*lock.channels, *(read.document.spec.channels if read.document else ())}
    addresses, mirrors = set(names), dict[str, str]()
    for name in sorted(names - {channels.NODEFAULTS}):
        try:
            found = channels.resolve_channels((name,), workplace.settings)
        except EnvforgeError:  # a variable that is not set here, a mirror without it
            continue
        for channel in found:
            addresses.add(channel.url)
            if channel.mirror is not None:
                folder = channels.folder_of(channel.mirror)
                mirrors[folder.as_uri() if folder else without_credentials(channel.mirror)] = (
                    channel.url
                )
    return canonical.Known(channels=addresses, mirrors=mirrors, chosen=_chosen(read, lock))


def _chosen(read: _Read, lock: Lock) -> tuple[str, ...]:
    """Addresses of wheels, and an index, that were asked for as they are."""
    wheels = read.document.spec.pip() if read.document else ()
    urls = [item.url.partition("#")[0] for item in wheels if item.url]
    index = lock.target.wheel_index if lock.target else None
    return (*urls, *([index] if index and "://" in index else []))


# --- mending --------------------------------------------------------------------------------


def _mended(workplace: Workplace, read: _Read, lock: Lock) -> str:
    """The lock's text with what needs no decision set right."""
    known = _known(workplace, read, lock)
    moved = {item.url: _address(item.url, canonical.judge(item, known)) for item in lock.packages}
    if not read.is_ours:  # somebody else's layout is left alone
        text = read.text
        for old, new in moved.items():
            if old != new:
                text = text.replace(old, new)
        return text
    packages = tuple(replace(item, url=moved[item.url]) for item in lock.packages)
    mended = replace(lock, packages=packages)
    if read.document is not None and not _stale(read, lock):
        from envforge.formats.conda_lock import content_hash

        hashes = content_hash.content_hashes(read.document.spec, read.virtual)
        mended = replace(mended, content_hash=hashes)
    return conda_lock_yml.write(mended)


def _address(url: str, strange: canonical.Strange | None) -> str:
    return secrets.public_address(strange.canonical if strange and strange.canonical else url)
