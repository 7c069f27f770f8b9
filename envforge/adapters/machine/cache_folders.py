"""The folders that torch, Triton and the driver keep compiled code in, and who may write there.

Where they lie by default: `torch/_inductor/runtime/cache_dir_utils.py`, `triton/knobs.py`,
`torch/utils/cpp_extension.py` (XDG), and the CUDA programming guide for CUDA_CACHE_PATH.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envforge.adapters.machine.mountinfo import Mount, mount_of, read_mounts
from envforge.verify.facts.shell import CacheFolder, CacheUse

_USER_VARIABLES: Final = ("LOGNAME", "USER", "LNAME", "USERNAME")
"""Where `getpass.getuser` looks first, in its order."""
_TEMPORARY_VARIABLES: Final = ("TMPDIR", "TEMP", "TMP")
_NOT_IN_A_FILE_NAME: Final = re.compile(r'[\\/:*?"<>|]')
_HOMES_OF_ROOT: Final = frozenset({"/", "/root"})
"""Some systems take all write permission from these two; root writes there all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    use: CacheUse
    path: str
    variable: str | None = None
    on_machine: bool = False
    """Whether it is one of the machine's own paths, to be seen below `root`."""
    per_user: bool = False


def user_name(environment: Mapping[str, str], uid: int | None) -> str | None:
    """What `getpass.getuser` returns here; None where it raises."""
    named = next((environment[key] for key in _USER_VARIABLES if environment.get(key)), None)
    if named is not None or uid is None:
        return named
    return _account(uid, 0)


def cache_folders(
    environment: Mapping[str, str], *, user: str | None, uid: int | None, root: Path
) -> tuple[CacheFolder, ...]:
    """Each of them as it is now, made or not.

    Args:
        environment: variables of the programs that would write there.
        user: as `user_name` tells it; None: there is no default folder of the user's own.
        uid: None on systems without user ids.
        root: where `/tmp` and `/proc/self/mountinfo` are seen.
    """
    mounts = _mounts(root)
    return tuple(
        _looked_at(place, uid=uid, root=root, mounts=mounts)
        for place in _places(environment, user=user, uid=uid)
    )


def _places(
    environment: Mapping[str, str], *, user: str | None, uid: int | None
) -> Iterator[_Place]:
    home = _home(environment, uid)
    inductor = environment.get("TORCHINDUCTOR_CACHE_DIR")
    if inductor:
        yield _Place(use="inductor", path=inductor, variable="TORCHINDUCTOR_CACHE_DIR")
    elif user is not None:
        folder = next(
            (
                environment[key]
                for key in _TEMPORARY_VARIABLES
                if environment.get(key) and os.path.isdir(environment[key])  # noqa: PTH112
            ),
            None,
        )
        name = "torchinductor_" + _NOT_IN_A_FILE_NAME.sub("_", user)
        path = os.path.join(folder or "/tmp", name)  # noqa: PTH118, S108
        yield _Place(use="inductor", path=path, on_machine=folder is None, per_user=True)
    yield from _below_home(environment, home)
    driver = environment.get("CUDA_CACHE_PATH")
    if driver and environment.get("CUDA_CACHE_DISABLE") != "1":
        yield _Place(use="driver", path=driver, variable="CUDA_CACHE_PATH")


def _below_home(environment: Mapping[str, str], home: str | None) -> Iterator[_Place]:
    """Triton's cache and that of extensions: named by a variable, or below the home folder."""
    choices: tuple[tuple[CacheUse, str, str, str, str], ...] = (
        ("triton", "TRITON_CACHE_DIR", "TRITON_HOME", "", ".triton/cache"),
        ("extensions", "TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME", ".cache", "torch_extensions"),
    )
    for use, whole, base, below, name in choices:
        if environment.get(whole):
            yield _Place(use=use, path=environment[whole], variable=whole)
        elif environment.get(base):
            yield _Place(use=use, path=f"{environment[base]}/{name}", variable=base)
        elif home:
            path = os.path.normpath(f"{home}/{below}/{name}")
            yield _Place(use=use, path=path, variable="HOME" if environment.get("HOME") else None)


def _home(environment: Mapping[str, str], uid: int | None) -> str | None:
    """As `os.path.expanduser` has it."""
    if environment.get("HOME"):
        return environment["HOME"]
    return None if uid is None else _account(uid, 5)


def _account(uid: int, index: int) -> str | None:
    import pwd

    try:
        return str(pwd.getpwuid(uid)[index])
    except KeyError:
        return None


# --- one folder -----------------------------------------------------------------------------


def _looked_at(
    place: _Place, *, uid: int | None, root: Path, mounts: Sequence[Mount]
) -> CacheFolder:
    path = os.path.abspath(place.path)  # noqa: PTH100 - a relative one is, to the working folder
    moved = place.on_machine and root != Path("/")
    seen = f"{root}{path}" if moved else path
    nearest, found = _nearest(seen)
    mount = mount_of(path if moved else os.path.realpath(path), mounts)
    options = mount.options if mount else frozenset()
    exists = nearest == seen
    return CacheFolder(
        use=place.use,
        path=path,
        variable=place.variable,
        nearest=nearest[len(str(root)) :] or "/" if moved else nearest,
        exists=exists,
        is_folder=found is not None and stat.S_ISDIR(found.st_mode),
        per_user=place.per_user,
        owner=found.st_uid if found else None,
        mode=stat.S_IMODE(found.st_mode) if found else None,
        writable=_may_write(nearest, found, uid, named=exists) if found else None,
        mount=mount.point if mount else None,
        noexec="noexec" in options,
        read_only="ro" in options,
    )


def _nearest(path: str) -> tuple[str, os.stat_result | None]:
    """The path, or what is nearest above it that can be looked at."""
    for place in (Path(path), *Path(path).parents):
        try:
            return str(place), place.stat()
        except OSError as error:  # noqa: PERF203 - seldom more than three
            if error.errno == errno.ELOOP:
                return str(place), None
    return path, None


def _may_write(path: str, found: os.stat_result, uid: int | None, *, named: bool) -> bool:
    """By what the kernel says, and where it lets root do anything, by what the owner meant."""
    allowed = os.access(path, os.W_OK | os.X_OK)
    if uid != 0 or not allowed:
        return allowed
    if not named and path in _HOMES_OF_ROOT:
        return True
    return bool(found.st_mode & 0o222)


def _mounts(root: Path) -> Sequence[Mount]:
    try:
        text = (root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return read_mounts(text)


def own_uid() -> int | None:
    """None on systems without user ids."""
    return os.getuid() if hasattr(os, "getuid") else None
