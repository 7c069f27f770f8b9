"""Are the files what the packages brought, from whom, and where they were put?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Final

from envforge.model.finding import Finding
from envforge.model.prefix import Disk, PrefixState
from envforge.model.wording import counted
from envforge.verify import remedies
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.packages import listed, prefix_of, restore
from envforge.verify.facts import (
    CacheDamage,
    Distribution,
    PackageFacts,
    PrefixFacts,
    Script,
    SharedPath,
    Subject,
    UnlikeRecorded,
)

_LITTLE: Final = 100 << 20
"""Bytes; with less left nothing can be installed."""
_OLD_LIMIT: Final = 255
"""Bytes of a script's first line that Linux reads since 5.1; before it was 127."""


@check(
    level="static",
    needs=("prefix",),
    symptom="[Errno 122] Disk quota exceeded, or [Errno 28] No space left; files named `*.c~`",
    why="what conda could neither finish nor take back fails at some later import",
    source="conda/conda#9693, conda/conda#6019, ContinuumIO/anaconda-issues#11282",
    cause="A disk or a quota was full, or the process was ended, while packages were exchanged.",
    fix="Free space or move `pkgs_dirs` and `envs_dirs`, then make the environment anew.",
)
def quota_exceeded_partial_install(subject: Subject) -> Iterator[Finding]:
    """No install broke off here and left its traces."""
    prefix = prefix_of(subject)
    facts = prefix.packages
    if prefix.state is PrefixState.ABSENT:
        raise NotApplicable("nothing is installed")
    seen = []
    if facts.leftovers:
        seen.append(f"left over: {listed(facts.leftovers)}")
    if facts.unfinished and subject.locked is None:  # a lock tells better what is missing
        seen.append(f"in conda-meta/history and without a record: {listed(facts.unfinished)}")
    if seen:
        room = _room(facts.disk)
        yield Finding(
            message="an install broke off here and was not taken back as a whole"
            + (f"; {room}" if room else ""),
            seen="; ".join(seen),
            expected="no file on its way out, and a record for every package of the history",
            remedy=_anew(subject, facts),
        )


def _room(disk: Disk | None) -> str:
    if disk is None:
        return ""
    left = min(disk.free_bytes, disk.quota_bytes if disk.quota_bytes is not None else _LITTLE)
    if left < _LITTLE:
        whose = "your quota" if disk.quota_bytes is not None and disk.quota_bytes <= left else ""
        return f"{left >> 20} MiB are left {f'of {whose}' if whose else 'on the disk'}"
    files = [item for item in (disk.free_inodes, disk.quota_files) if item is not None]
    return "no more files can be made" if files and min(files) < 1000 else ""


def _anew(subject: Subject, facts: PackageFacts) -> str:
    prefix = prefix_of(subject)
    clean = " ".join(shlex.quote(f"{prefix.prefix}/{path}") for path in facts.leftovers[:5])
    steps = [f"rm -r {clean}"] if clean else []
    if subject.locked is not None and subject.folder is not None:
        steps.append(remedies.install(subject))
    elif facts.unfinished:
        where = shlex.quote(prefix.prefix)
        steps.append(f"conda install --prefix {where} {' '.join(facts.unfinished[:9])}")
    return " && ".join(steps) or remedies.install(subject)


@check(
    level="import",
    needs=("prefix",),
    symptom="CondaVerificationError: the package appears to be corrupted; SafetyError about a size",
    why="every environment that is made from this cache gets the same damage",
    source="conda-forge/python-feedstock#328, ContinuumIO/anaconda-issues#11643",
    cause="Unpacking was interrupted, a disk was full, or a file that environments share with the"
    " cache was written into.",
    fix="Remove the package from the cache; the next install fetches it again.",
)
def package_cache_corrupt(subject: Subject) -> Iterator[Finding]:
    """The packages that this environment is made of lie whole in the package cache."""
    prefix = prefix_of(subject)
    if prefix.packages.cache is None:
        raise CannotLook("the package cache was not looked at")
    edited = {item.path for item in _edited(prefix) if item.links > 1}
    damage = [item for item in prefix.packages.cache if not _is_told(item, edited)]
    if damage:
        folders = [item.folder for item in damage]
        yield Finding(
            message=f"{counted(len(damage), 'package')} in the package cache"
            f" {'is' if len(damage) == 1 else 'are'} damaged: "
            + listed(folder.rpartition("/")[2] for folder in folders),
            seen=listed((f"{item.folder}: {_first(item)}" for item in damage), separator="; "),
            expected="every file, as `info/paths.json` of the package lists it",
            remedy=f"rm -r {' '.join(map(shlex.quote, folders[:9]))} && {remedies.install(subject)}"
            if subject.locked is not None
            else f"rm -r {' '.join(map(shlex.quote, folders[:9]))}",
        )


def _first(item: CacheDamage) -> str:
    more = f" and {item.count - 1} more" if item.count > 1 else ""
    return f"{item.problems[0]}{more}"


def _is_told(item: CacheDamage, edited: set[str]) -> bool:
    """Whether all that is wrong are files which the environment shares, and which were edited."""
    wrong = [problem.partition(": ")[0] for problem in item.problems]
    ends = tuple(edited)
    return item.count == len(wrong) and all(
        any(path == end or path.endswith(f"/{end}") or end.endswith(f"/{path}") for end in ends)
        for path in wrong
    )


@check(
    level="import",
    needs=("prefix",),
    severity="warning",
    symptom="a module behaves unlike its version; SafetyError about an incorrect size",
    why="the version no longer says what runs, and the next install undoes the change",
    source="pytorch/pytorch#115498; PyPA specification: Recording installed projects",
    cause="Somebody edited a file in site-packages. Where files are hardlinked, the package cache"
    " and every environment that shares the file changed with it.",
    fix="Put the package back; to change a package, install it from a folder of its own.",
)
def edited_file_in_prefix(subject: Subject) -> Iterator[Finding]:
    """Every file of every package has the content that the package brought."""
    prefix = prefix_of(subject)
    if prefix.state is PrefixState.ABSENT:
        raise NotApplicable("nothing is installed")
    if prefix.packages.unlike is None:
        raise CannotLook("the files were not looked at one by one")
    edited = _edited(prefix)
    if edited:
        yield _about_edited(subject, edited)
    elif prefix.packages.unhashed:
        raise CannotLook(
            f"{counted(len(prefix.packages.unhashed), 'large file')} written after the install:"
            " `--hashes` reads them"
        )


@check(
    level="static",
    needs=("prefix",),
    symptom="an environment for everybody behaves differently since somebody used conda or pip",
    why="what was verified when it was published is no longer protected from being changed",
    source="CEP 22 (frozen environments); PEP 668 (externally managed environments)",
    cause="A marker was removed, or the right to write its folders was given back.",
    fix="Publish it anew: a new version is built, verified and switched to.",
)
def published_unprotected(subject: Subject) -> Iterator[Finding]:
    """A published environment is still closed to conda, pip and everybody's writing."""
    prefix = prefix_of(subject)
    facts = prefix.published
    if facts is None:
        raise NotApplicable("it was not published with `envforge install --publish`")
    seen = [] if facts.frozen else ["no conda-meta/frozen"]
    seen += [] if facts.managed else ["no EXTERNALLY-MANAGED beside the standard library"]
    if facts.open_folders:
        seen.append(f"somebody may write {listed(facts.open_folders)}")
    if seen:
        yield Finding(
            message="it was published for everybody, and can be changed now",
            seen="; ".join(seen),
            expected="both markers, and no folder that anybody may write",
            remedy=_publish_again(prefix),
        )


def _publish_again(prefix: PrefixFacts) -> str:
    """`ROOT/.versions/NAME/0003-…` is where it lies."""
    place = PurePath(prefix.real)
    if place.parent.parent.name != ".versions":
        return "publish it anew with `envforge install ENV --publish ROOT`"
    root, name = place.parents[2], place.parent.name
    return f"envforge install {shlex.quote(name)} --publish {shlex.quote(str(root))}"


def _edited(prefix: PrefixFacts) -> list[UnlikeRecorded]:
    return [
        item
        for item in prefix.packages.unlike or ()
        if item.how == "content" and not is_interpreter(prefix, item.path)
    ]


def is_interpreter(prefix: PrefixFacts, path: str) -> bool:
    """Whether it is the Python that is found not to start, for a reason that is told by itself."""
    broken = bool(prefix.interpreter_problem) or prefix.interpreter is None
    return broken and re.fullmatch(r"bin/python[0-9.]*|(Scripts/)?python\.exe", path) is not None


def _about_edited(subject: Subject, edited: Sequence[UnlikeRecorded]) -> Finding:
    packages = list(dict.fromkeys(item.package for item in edited))
    shared = max(item.links for item in edited)
    reach = (
        f", which {shared - 1} other place{'' if shared == 2 else 's'} share"
        f"{'s' if shared == 2 else ''}: the package cache or other environments changed, too"
        if shared > 1
        else ""
    )
    same_size = all(item.recorded in {None, item.found} for item in edited)
    return Finding(
        message=f"{counted(len(edited), 'file')} of {listed(packages)}"
        f" {'was' if len(edited) == 1 else 'were'} changed after the install{reach}",
        seen=listed(_size(item) for item in edited),
        expected="the content that the package recorded",
        remedy=restore(subject, edited, unseen=same_size),
    )


def _size(item: UnlikeRecorded) -> str:
    if item.recorded is None or item.recorded == item.found:
        return f"{item.path}: other content"
    return f"{item.path}: {item.found} instead of {item.recorded} bytes"


@check(
    level="static",
    needs=("prefix",),
    symptom="`bad interpreter: No such file or directory`, or a script runs with another Python",
    why="pip, torchrun and the like fail, or work on another environment than the one they lie in",
    source="conda/conda#3097, ContinuumIO/anaconda-issues#8067, conda/conda#8395",
    cause="The folder was renamed, copied or mounted elsewhere: an environment's scripts hold its"
    " path. Or the path is so long that the system cuts the first line off.",
    fix="Make the environment anew at its place, or move it back; `python -m pip` works anyway.",
    after=("python-missing",),
)
def moved_env_broken_shebang(subject: Subject) -> Iterator[Finding]:
    """The environment's scripts start its own Python."""
    prefix = prefix_of(subject)
    if prefix.packages.layout == "system":
        raise NotApplicable("a system's scripts may be of any Python")
    elsewhere = [item for item in prefix.packages.scripts if item.how != "long"]
    if elsewhere or prefix.packages.recorded_prefix is not None:
        yield _moved(subject, elsewhere)
    too_long = [item for item in prefix.packages.scripts if item.how == "long"]
    if too_long:
        yield _too_long(subject, too_long)


def _moved(subject: Subject, scripts: Sequence[Script]) -> Finding:
    prefix = prefix_of(subject)
    old = prefix.packages.recorded_prefix
    seen = [f"{item.path} starts {item.interpreter}" for item in scripts]
    if old is not None:
        seen.insert(0, f"its own files name {old}")
    old = old or scripts[0].interpreter.rpartition("/bin/")[0]
    is_back = old.startswith(f"{prefix.prefix}/") or old == prefix.prefix
    gone = all(item.how == "absent" for item in scripts)
    number, one = len(scripts), len(scripts) == 1
    return Finding(
        message=f"{counted(number, 'script')} of this environment"
        + (f" need{'s' * one} a Python that is gone" if gone else "")
        + ("" if gone else f" start{'s' * one} the Python of another one")
        if scripts
        else f"this environment was made at {old}, and activating it leads there",
        seen=listed(seen, separator="; "),
        expected=f"{prefix.prefix}/bin/python",
        remedy=_restore_place(subject, old, gone=gone, is_back=is_back),
    )


def _restore_place(subject: Subject, old: str, *, gone: bool, is_back: bool) -> str:
    """Move it back where nothing stands in the way, else make it anew."""
    prefix = prefix_of(subject)
    here, there = shlex.quote(prefix.prefix), shlex.quote(old)
    movable = gone and not is_back
    if subject.locked is not None and subject.folder is not None:
        again = f"rm -r {here} && {remedies.install(subject)} --prefix {here}"
        return f"mv -T {here} {there}, or make it anew: {again}" if movable else again
    if movable:
        return f"mv -T {here} {there}"
    if prefix.packages.layout == "conda" and not is_back:
        return f"rm -r {here} && conda create --clone {there} --prefix {here}"
    python = f"{here}/bin/python"
    return (
        f"uv pip freeze --python {python} > requirements.txt && uv venv --clear {here}"
        f" && uv pip install --python {python} -r requirements.txt"
    )


def _too_long(subject: Subject, scripts: Sequence[Script]) -> Finding:
    longest = max(item.length for item in scripts)
    severe = longest > _OLD_LIMIT
    return Finding(
        message=f"{counted(len(scripts), 'script')}: the first line has {longest} bytes, and"
        + (" Linux reads 255" if severe else " Linux before 5.1 reads 127"),
        seen=listed(item.path for item in scripts),
        expected="a shorter path",
        remedy="install the environment into a folder with a shorter path: "
        f"{remedies.install(subject)} --prefix SHORTER"
        if subject.locked is not None
        else "make the environment anew in a folder with a shorter path",
        severity="error" if severe else "warning",
    )


# --- who owns what --------------------------------------------------------------------------

_NVIDIA: Final = re.compile(r"nvidia-(?P<library>[a-z-]+?)(-cu(?P<major>\d+))?")
_ONE_FOLDER: Final = frozenset({"cudnn", "nccl", "nvshmem", "cusparselt"})
"""Libraries whose wheels for every CUDA major write the same files."""


@check(
    level="static",
    needs=("prefix",),
    symptom="torch no longer imports, or cuDNN or NCCL has another version, after an install",
    why="both write the same files: the last one wins, and removing one deletes the other's",
    source="pytorch/pytorch#186591; file lists of NVIDIA's wheels on PyPI",
    cause="A package for another CUDA major brought its own NVIDIA wheels beside torch's.",
    fix="Remove both, and install again the one that torch asks for.",
)
def nvidia_wheels_two_majors(subject: Subject) -> Iterator[Finding]:
    """NVIDIA's libraries are there for one CUDA release only."""
    prefix = prefix_of(subject)
    wheels = [item for item in prefix.packages.distributions if item.name.startswith("nvidia-")]
    if not wheels:
        raise NotApplicable("no wheel of NVIDIA is here")
    shared = [item for item in prefix.packages.shared if _is_nvidias(item) and item.differs]
    double = _double(wheels)
    owners = {owner for item in shared for owner in item.owners}
    owners |= {f"{item.name} {item.version}" for item in double}
    if owners:
        seen = [f"{item.path} of {' and '.join(item.owners)}" for item in shared]
        yield Finding(
            message=f"{' and '.join(sorted(owners)[:4])} write the same files",
            seen=listed(seen, separator="; ") or ", ".join(sorted(owners)),
            expected="one of them",
            remedy=_keep_one(subject, sorted(owners)),
        )


def _is_nvidias(item: SharedPath) -> bool:
    return sum(owner.startswith("nvidia-") for owner in item.owners) > 1


def _double(wheels: Sequence[Distribution]) -> list[Distribution]:
    found: dict[str, list[Distribution]] = {}
    for item in wheels:
        parts = _NVIDIA.fullmatch(item.name)
        if parts and parts["library"] in _ONE_FOLDER:
            found.setdefault(parts["library"], []).append(item)
    return [item for same in found.values() if len(same) > 1 for item in same]


def _keep_one(subject: Subject, owners: Sequence[str]) -> str:
    """The ones that torch asks for stay; both go first, or removal takes files of what stays."""
    prefix = prefix_of(subject)
    names = [owner.partition(" ")[0] for owner in owners]
    asked = _asked_by_torch(prefix)
    kept = [owner for owner in owners if owner.partition(" ")[0] in asked]
    python = shlex.quote(prefix.interpreter or f"{prefix.prefix}/bin/python")
    out = f"uv pip uninstall --python {python} {' '.join(names)}"
    if subject.locked is not None and subject.folder is not None:
        return f"{out} && {remedies.install(subject)}"
    again = " ".join(owner.replace(" ", "==") for owner in kept) or "THE ONE TO KEEP"
    return f"{out} && uv pip install --python {python} --no-deps {again}"


def _asked_by_torch(prefix: PrefixFacts) -> set[str]:
    torch = next((item for item in prefix.packages.distributions if item.name == "torch"), None)
    named = (re.match(r"[A-Za-z0-9._-]+", text) for text in (torch.requires if torch else ()))
    return {re.sub(r"[-_.]+", "-", item[0]).lower() for item in named if item}


@check(
    level="static",
    needs=("prefix",),
    severity="warning",
    symptom="a library is another one than its package says; after removing a package, files lack",
    why="the package that was installed last has overwritten the other's library",
    source="opencv/opencv-python README, installation; conda documentation, safety checks",
    cause="Two packages bring the same shared object.",
    fix="Keep one of the two.",
    after=("nvidia-wheels-two-majors",),
)
def library_of_two_packages(subject: Subject) -> Iterator[Finding]:
    """No shared object belongs to two packages that disagree about it."""
    shared = [
        item
        for item in prefix_of(subject).packages.shared
        if item.differs and not _is_nvidias(item)
    ]
    if shared:
        first = shared[0]
        yield Finding(
            message=f"{' and '.join(first.owners)} both bring {first.path.rpartition('/')[2]}"
            + (f", and {counted(len(shared) - 1, 'more file')}" if len(shared) > 1 else ""),
            seen=listed((f"{item.path} of {' and '.join(item.owners)}" for item in shared), "; "),
            expected="each file from one package",
            remedy="remove all of them, then install the one that is wanted",
        )


# --- channels -------------------------------------------------------------------------------

_DEFAULTS: Final = frozenset(
    {"defaults", "main", "anaconda", "free", "pkgs/main", "pkgs/free", "pkgs/pro", "r", "pkgs/r"}
)
_ABI: Final = re.compile(
    r"openssl|libstdcxx(-ng)?|libgcc(-ng)?|libgomp|libgfortran(5|-ng)?|_openmp_mutex|llvm-openmp"
    r"|intel-openmp|mkl(-service|_fft|_random)?|tbb|blas|lib(c?blas|lapacke?|openblas)|openblas"
    r"|python|numpy(-base)?|scipy|icu|libxml2(-16)?|zlib|libzlib|hdf5|libprotobuf|libcurl|krb5"
    r"|boost(-cpp)?|libboost|arrow-cpp|libarrow|ffmpeg|libtiff|jpeg|libjpeg-turbo|libpng|sqlite"
)
"""Packages whose binary interface others are compiled against."""


@check(
    level="static",
    needs=("prefix",),
    severity="warning",
    symptom="undefined symbols of OpenSSL, MKL or OpenMP; crashes after one more `conda install`",
    why="the two are compiled with different compilers and conventions for the same libraries",
    source="conda-forge documentation, tips and tricks; conda-forge/openmpi-feedstock#96,"
    " pymc-devs/pymc#6169, pyca/cryptography#6712",
    cause="Packages were installed from `defaults` and from conda-forge without strict priority.",
    fix="Make the environment anew from one of the two: `channel_priority: strict`.",
)
def channel_mix(subject: Subject) -> Iterator[Finding]:
    """Libraries that others are compiled against come from one family of channels."""
    facts = prefix_of(subject).packages
    if not facts.channels:
        raise NotApplicable("no conda package is here, or none names its channel")
    binary = {
        name: channel
        for name, channel in facts.channels.items()
        if facts.subdirs.get(name) != "noarch" and _ABI.fullmatch(name)
    }
    defaults = sorted(name for name, channel in binary.items() if channel in _DEFAULTS)
    forge = sorted(name for name, channel in binary.items() if channel == "conda-forge")
    if defaults and forge:
        yield Finding(
            message=f"{counted(len(defaults), 'library')} of Anaconda's channels"
            f" beside {len(forge)} of conda-forge".replace("librarys", "libraries"),
            seen=f"{listed(defaults)} from `defaults`; {listed(forge)} from conda-forge",
            expected="all of them from one",
            remedy=_from_one(subject),
        )


def _from_one(subject: Subject) -> str:
    if subject.target is not None:
        return (
            f"take `defaults` out of environment.yml, then {remedies.install(subject)} after"
            " `envforge lock`"
        )
    where = shlex.quote(prefix_of(subject).prefix)
    return (
        f"conda update --prefix {where} --all --override-channels -c conda-forge"
        " --strict-channel-priority"
    )
