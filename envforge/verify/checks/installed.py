"""Is the prefix whole, and is it what the lock says?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

from envforge.model.finding import Finding
from envforge.model.lock import LockedPackage
from envforge.model.prefix import InstalledPackage, PrefixState
from envforge.model.wording import counted
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.integrity import is_interpreter
from envforge.verify.checks.packages import listed, prefix_of, reinstall, restore
from envforge.verify.facts import Distribution, PackageFacts, PrefixFacts, Subject, UnlikeRecorded

_LIBRARY = re.compile(r"\.(so[0-9.]*|pyd|dll|dylib)$")


@check(
    level="static",
    needs=("prefix",),
    symptom="modules or libraries are missing, others work",
    why="an install that did not end leaves an environment that fails at some later import",
    source="conda/conda#9693",
    cause="`envforge install` was ended, by a person, a full disk or a lost network, before it was"
    " done; or it was never begun.",
    fix="Run the same install again: it goes on where it ended.",
)
def prefix_incomplete(subject: Subject) -> Iterator[Finding]:
    """An install began here and ended."""
    prefix = prefix_of(subject)
    if prefix.state is PrefixState.INCOMPLETE:
        yield Finding(
            message=f"the install into `{prefix.prefix}` did not end",
            seen="the marker of an unfinished install",
            expected="an install that ended",
            remedy=remedies.install(subject),
        )
    elif prefix.state is PrefixState.ABSENT:
        yield Finding(
            message=f"nothing is installed in `{prefix.prefix}`",
            seen="no environment",
            expected="an installed environment",
            why="there is nothing to run",
            remedy=remedies.install(subject),
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="`pip check` or importlib.metadata fails, a version reads None, folders named `~orch`",
    why="what is installed cannot be told, so neither tools nor checks can be trusted",
    source="PyPA specification: Recording installed projects; pip `utils/temp_dir.py`",
    cause="pip or conda was interrupted while it exchanged a package, a disk was full, or folders"
    " were copied by hand; a folder named `~orch` is what pip had set aside.",
    fix="Remove what is left over, then install the package again.",
    after=("prefix-incomplete",),
)
def metadata_broken(subject: Subject) -> Iterator[Finding]:
    """Every package's own record in the prefix can be read."""
    prefix = prefix_of(subject)
    if prefix.broken_metadata:
        number = len(prefix.broken_metadata)
        yield Finding(
            message=f"{counted(number, 'package record')} cannot be used",
            seen=listed(prefix.broken_metadata, separator="; "),
            expected="one whole record for each package in `conda-meta` and `site-packages`",
            remedy=_clean_up(subject, prefix),
        )


def _clean_up(subject: Subject, prefix: PrefixFacts) -> str:
    """Take out what is left over; an install then puts whole records in the place."""
    names = [line.partition(": ")[0] for line in prefix.broken_metadata]
    site = next(
        (item.folder.rpartition("/")[0] for item in prefix.packages.distributions if item.folder),
        prefix.torch.package.rpartition("/")[0] if prefix.torch else "",
    )
    paths = [
        name if name.startswith("conda-meta/") else f"{site}/{name}"
        for name in names
        if name.startswith(("conda-meta/", "~")) or site
    ]
    files = [shlex.quote(f"{prefix.prefix}/{path}") for path in paths if _is_leftover(path)]
    steps = [f"rm -r {' '.join(files[:9])}"] if files else []
    if subject.locked is not None or not steps:
        steps.append(remedies.install(subject))
    return " && ".join(steps)


def _is_leftover(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith("~") or name.endswith((".dist-info", ".json"))


@check(
    level="static",
    needs=("lock", "prefix"),
    symptom="it runs, and gives other results than on the next machine",
    why="the environment is no longer the one that was locked and tried",
    source="pytorch/pytorch#12470, spyder-ide/spyder#26014",
    cause="Somebody ran `pip install` or `conda install` in it, or the lock was changed since.",
    fix="`envforge install` makes it as locked again; `envforge add` locks what is to be kept.",
    after=("prefix-incomplete",),
)
def lock_drift(subject: Subject) -> Iterator[Finding]:
    """What is installed is what is locked, no more and no less."""
    prefix = prefix_of(subject)
    if prefix.state is PrefixState.ABSENT:
        raise CannotLook("nothing is installed")
    untold = _with_broken_records(prefix)
    locked = {
        (item.manager, item.name): item for item in subject.locked or () if item.name not in untold
    }
    installed = {
        (item.manager, item.name): item
        for item in (*prefix.conda, *prefix.wheels)
        if item.name not in untold
    }
    missing = [item for key, item in locked.items() if key not in installed]
    extra = [
        item
        for key, item in installed.items()
        if key not in locked and not _is_own_source(item, prefix.packages)
    ]
    differing = [
        (found, wanted, how)
        for key, wanted in locked.items()
        if (found := installed.get(key)) is not None
        and (how := _difference(found, wanted, prefix.packages))
    ]
    overwriting = _overwriting(extra, prefix)
    yield from _missing([item for item in missing if item.name not in overwriting], subject)
    yield from _differing(differing, subject)
    yield from _overwritten([item for item in extra if item.name in overwriting], subject)
    yield from _extra([item for item in extra if item.name not in overwriting], subject)


def _with_broken_records(prefix: PrefixFacts) -> set[str]:
    """What `metadata-broken` names: nothing is known of these."""
    names = (line.partition(": ")[0] for line in prefix.broken_metadata)
    return {
        name.removeprefix("conda-meta/").removesuffix(".json").rsplit("-", 2)[0]
        if name.startswith("conda-meta/")
        else re.sub(r"[-_.]+", "-", name.partition("-")[0]).lower()
        for name in names
    }


def _is_own_source(package: InstalledPackage, facts: PackageFacts) -> bool:
    """An editable install: code that is being worked on, which no lock could hold."""
    found = _distribution(package, facts)
    return found is not None and found.editable


def _distribution(package: InstalledPackage, facts: PackageFacts) -> Distribution | None:
    if package.manager != "pip":
        return None
    return next(
        (
            item
            for item in facts.distributions
            if item.name == package.name and item.conda_owner is None
        ),
        None,
    )


def _difference(
    found: InstalledPackage, wanted: LockedPackage, facts: PackageFacts
) -> tuple[str, str] | None:
    """What is installed and what is locked, in words; None: the same."""
    if found.manager == "pip":
        return _wheel_difference(found, wanted, facts)
    here, there = (f"{item.name} {item.version} {item.build}" for item in (found, wanted))
    if here != there:
        return here, there
    for kind, one, other in (
        ("sha256", found.sha256, wanted.sha256),
        ("md5", found.md5, wanted.md5),
    ):
        if one and other:
            return None if one == other else (f"{here} ({kind} {one})", f"{there} ({kind} {other})")
    channel = facts.channels.get(found.name, "")
    locked_channel = wanted.channel_url.rpartition("/")[2]
    if channel and locked_channel and channel.rpartition("/")[2] != locked_channel:
        return f"{here} of {channel}", f"{there} of {locked_channel}"
    return None


def _wheel_difference(
    found: InstalledPackage, wanted: LockedPackage, facts: PackageFacts
) -> tuple[str, str] | None:
    here, there = (f"{item.name} {item.version}" for item in (found, wanted))
    if not _same_version(found.version, wanted.version):
        return here, there
    package = _distribution(found, facts)
    if package is not None and package.local_url:
        taken = package.archive_sha256
        if taken == wanted.sha256 or (not taken and _same_url(package.local_url, wanted.url)):
            return None
        return f"{here} from {package.local_url}", f"{there} from {wanted.filename}"
    marked = facts.marked_wheels.get(found.name, "")
    if marked and wanted.sha256 and marked != wanted.sha256:
        return f"{here} (sha256 {marked})", f"{there} (sha256 {wanted.sha256})"
    return None


def _same_url(one: str, other: str) -> bool:
    return unquote(one).partition("#")[0] == unquote(other).partition("#")[0]


def _same_version(one: str, other: str) -> bool:
    if one == other:
        return True
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return False


def _overwriting(extra: Sequence[InstalledPackage], prefix: PrefixFacts) -> set[str]:
    """The wheels among these that stand where a conda package was."""
    conda = {item.name for item in prefix.conda} | prefix.packages.replaced.keys()
    return {item.name for item in extra if item.manager == "pip" and item.name in conda}


def _missing(packages: Sequence[LockedPackage], subject: Subject) -> Iterator[Finding]:
    if packages:
        yield Finding(
            message=f"{counted(len(packages), 'locked package')} not installed",
            seen=f"without {listed(f'{p.name} {p.version}' for p in packages)}",
            expected=f"{counted(len(subject.locked or ()), 'package')}, as locked",
            remedy=remedies.install(subject),
        )


def _differing(
    triples: Sequence[tuple[InstalledPackage, LockedPackage, tuple[str, str]]], subject: Subject
) -> Iterator[Finding]:
    if triples:
        builds = any(found.version != wanted.version for found, wanted, _ in triples)
        what = "version or build" if builds else "build"
        yield Finding(
            message=f"{counted(len(triples), 'package')} installed in another {what}",
            seen=listed(seen for _, _, (seen, _) in triples) + _by_whom(subject),
            expected=listed(expected for _, _, (_, expected) in triples),
            remedy=remedies.install(subject),
        )


def _by_whom(subject: Subject) -> str:
    """What was last run here by another tool, if conda's history tells."""
    commands = prefix_of(subject).packages.commands
    if not commands or commands[-1].startswith("envforge"):
        return ""
    return f"; last: `{commands[-1][:120]}`"


def _overwritten(packages: Sequence[InstalledPackage], subject: Subject) -> Iterator[Finding]:
    if packages:
        replaced = prefix_of(subject).packages.replaced
        yield Finding(
            message=f"{counted(len(packages), 'conda package')} overwritten by a wheel",
            seen=listed(
                f"{p.name} {p.version} from pip"
                + (
                    f" in place of {replaced[p.name]}"
                    if replaced.get(p.name, p.name) != p.name
                    else ""
                )
                for p in packages
            ),
            expected="each package from the manager that the lock names",
            remedy=_take_out(packages, subject),
        )


def _take_out(packages: Sequence[InstalledPackage], subject: Subject) -> str:
    """The wheel has to go first: what it wrote is not looked at as conda's."""
    prefix = prefix_of(subject)
    python = shlex.quote(prefix.interpreter or f"{prefix.prefix}/bin/python")
    names = " ".join(item.name for item in packages)
    return f"uv pip uninstall --python {python} {names} && {remedies.install(subject)}"


def _extra(packages: Sequence[InstalledPackage], subject: Subject) -> Iterator[Finding]:
    if packages:
        add = f"envforge add {subject.folder or subject.name} {packages[0].name}"
        yield Finding(
            message=f"{counted(len(packages), 'package')} installed that the lock does not hold",
            seen=listed(f"{p.name} {p.version}" for p in packages) + _by_whom(subject),
            expected="nothing beside the lock",
            remedy=f"{add}, to keep it; {remedies.install(subject)}, to be rid of it",
            severity="warning",
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="ImportError `file too short`, or the process dies with SIGBUS in the middle of work",
    why="a shared object that was cut off loads, and kills the process when the lost part is used",
    source="conda/conda#9693, conda/conda#6019",
    cause="A disk or a quota was full, or a machine lost power, while the file was written.",
    fix="Install the package again, where there is space.",
    after=("prefix-incomplete",),
)
def truncated_library(subject: Subject) -> Iterator[Finding]:
    """The large shared objects are there, with the size that their package records."""
    prefix = prefix_of(subject)
    cut = [item for item in prefix.damaged if item.found is not None]
    lost = {item.path: (item.recorded, item.found) for item in cut}
    for item in prefix.packages.unlike or ():
        if item.how == "cut" and _LIBRARY.search(item.path):
            lost.setdefault(item.path, (item.recorded or 0, item.found))
    if lost:
        yield Finding(
            message=f"{counted(len(lost), 'shared object')} cut off",
            seen=listed(f"{path}: {found} bytes" for path, (_, found) in lost.items()),
            expected=listed(f"{path}: {size} bytes" for path, (size, _) in lost.items()),
            remedy=_restored(subject, lost),
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="ImportError or OSError, cannot open shared object file, in the middle of work",
    why="what needs the library fails when it is first used, not before",
    source="conda/conda#9693; files are shared with the package cache and other environments",
    cause="Somebody removed the file to save space, or an install was interrupted.",
    fix="Install the package again.",
    after=(
        *("prefix-incomplete", "truncated-library", "torch-missing", "missing-cuda-lib"),
        *("cudnn-sublibrary-mix", "nvrtc-builtins-missing", "mkl-dispatch-missing"),
        *("bitsandbytes-cpu", "library-not-found"),
    ),
)
def library_gone(subject: Subject) -> Iterator[Finding]:
    """Every shared object that a package records is there."""
    prefix = prefix_of(subject)
    gone = {item.path: None for item in prefix.damaged if item.found is None}
    for item in prefix.packages.unlike or ():
        if item.how == "gone" and _LIBRARY.search(item.path):
            gone.setdefault(item.path)
    if gone:
        yield Finding(
            message=f"{counted(len(gone), 'shared object')} missing",
            seen=listed(f"{path}: gone" for path in gone),
            expected="every library that the packages record",
            remedy=_restored(subject, gone),
        )


def _restored(subject: Subject, paths: Mapping[str, object]) -> str:
    """Where each file was compared, the package that it belongs to is known."""
    prefix = prefix_of(subject)
    files = [item for item in prefix.packages.unlike or () if item.path in paths]
    if files:
        return restore(subject, files)
    owners = [(i.manager, i.package) for i in prefix.damaged if i.path in paths and i.package]
    is_ours = subject.locked is not None and subject.folder is not None
    return remedies.install(subject) if is_ours or not owners else reinstall(subject, owners)


@check(
    level="import",
    needs=("prefix",),
    symptom="ModuleNotFoundError or FileNotFoundError in the middle of work",
    why="what lacks a file fails when it is first used, not before",
    source="conda/conda#9693; files are shared with the package cache and other environments",
    cause="An install was interrupted, a disk was full, or somebody removed files.",
    fix="Install the package again.",
    after=("prefix-incomplete",),
)
def files_unlike_recorded(subject: Subject) -> Iterator[Finding]:
    """Every file of every package is there, and not cut off."""
    prefix = prefix_of(subject)
    if prefix.state is PrefixState.ABSENT:
        raise NotApplicable("nothing is installed")
    if prefix.packages.unlike is None:
        raise CannotLook("the files were not looked at one by one")
    found = _lacking(prefix, prefix.packages.unlike)
    if found:
        packages = list(dict.fromkeys(item.package for item in found))
        gone = sum(item.how == "gone" for item in found)
        how = "missing" if gone == len(found) else "missing or cut off" if gone else "cut off"
        yield Finding(
            message=f"{counted(len(found), 'file')} of {listed(packages)} {how}",
            seen=listed(_state(item) for item in found),
            expected="files as their packages record them",
            remedy=restore(subject, found),
        )


def _lacking(prefix: PrefixFacts, unlike: Sequence[UnlikeRecorded]) -> list[UnlikeRecorded]:
    told = {item.path for item in prefix.damaged}
    return [
        item
        for item in unlike
        if item.how != "content"
        and item.path not in told
        and not _LIBRARY.search(item.path)  # `truncated-library`, `library-gone`
        and not is_interpreter(prefix, item.path)
    ]


def _state(item: UnlikeRecorded) -> str:
    if item.found is None:
        return f"{item.path}: gone"
    return f"{item.path}: {item.found} of {item.recorded} bytes"


@check(
    level="static",
    needs=("lock",),
    severity="warning",
    symptom="the folder cannot be installed on another machine",
    why="a `file:` address means nothing elsewhere",
    source="envforge README, environments without a conda channel",
    cause="The lock holds this machine's own Python or files, since no channel was in reach.",
    fix="Lock again where a conda channel is in reach.",
)
def machine_local_lock(subject: Subject) -> Iterator[Finding]:
    """The lock can be installed on other machines too."""
    local = [item for item in subject.locked or () if item.url.startswith("file:")]
    if local or (subject.target and subject.target.machine_local):
        yield Finding(
            message="this lock holds packages that exist on this machine only",
            seen=listed(item.name for item in local) or "the mark of a machine-local lock",
            expected="addresses that every machine can read",
            remedy="lock with a conda channel in reach and without `--python host`, to share it",
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="`python` is not found, or another one is started",
    why="nothing runs without it",
    source="conda/conda#664; Python documentation, venv: a virtual environment is not portable",
    cause="Python was never installed, its package was removed, the Python that a virtual"
    " environment was made from is gone or another one now, or the folder comes from another kind"
    " of machine.",
    fix="Make the environment anew on this machine.",
    after=("prefix-incomplete",),
)
def python_missing(subject: Subject) -> Iterator[Finding]:
    """The prefix has an interpreter that can be started on this machine."""
    prefix = prefix_of(subject)
    if prefix.state is PrefixState.ABSENT:
        raise NotApplicable("nothing is installed")
    problem = "" if subject.kind == "interpreter" else prefix.interpreter_problem
    if prefix.interpreter is None or problem:
        yield Finding(
            message=f"the Python of `{prefix.prefix}` cannot be used: {problem}"
            if problem
            else f"`{prefix.prefix}` has no Python",
            seen=problem or "no `bin/python`",
            expected="an interpreter",
            remedy=_python_again(subject),
        )


def _python_again(subject: Subject) -> str:
    prefix = prefix_of(subject)
    where = shlex.quote(prefix.prefix)
    if subject.locked is not None:
        return remedies.install(subject)
    if prefix.packages.layout == "venv":
        return f"python3 -m venv --clear {where}, and install its packages again"
    return f"conda install --prefix {where} python"
