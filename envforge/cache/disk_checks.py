"""What about a disk, and the settings around it, gets in the way of a store: checks of facts.

Each looks at what was seen and yields what is wrong, with what mends it; its docstring is the
claim. `CHECKS` is the table. A check that could not look raises `NotSeen`: that is never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from shlex import quote
from typing import Final, TypeVar

from envforge.cache import hub_variables
from envforge.cache.disk_facts import Folder, Surroundings
from envforge.model.finding import Finding, NotSeen, Outcome, judged

T = TypeVar("T")
Check = Callable[[Surroundings], Iterator[Finding]]

_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_LAYERED: Final = frozenset({"overlay", "aufs"})
_LOCAL_LOCKS: Final = frozenset({"localflock", "nolock", "local_lock=all", "local_lock=flock"})
"""Mount options of Lustre and NFS with which flock holds on one host only (their man pages)."""
_SLOW: Final = 200e6
"""Bytes per second below which a 15 GB model takes longer than 75 s to load."""
_MODEL: Final = 15e9
"""Bytes of a model of seven billion parameters in 16 bits."""
_FEW_BYTES: Final = 20e9
_FEW_INODES: Final = 10_000
_SKEW: Final = 60.0
"""Seconds; leases of other hosts live 900 after their last sign of life."""


def diagnose(seen: Surroundings) -> tuple[Outcome, ...]:
    """Every check's outcome, in the order of the table."""
    return judged(CHECKS, seen)


# --- who may write --------------------------------------------------------------------------


def _trusted(seen: Surroundings) -> Iterator[Finding]:
    """Nobody but the store's owner can change what lies there."""
    if seen.distrust:
        yield Finding(
            message=f"not safe as a store: {seen.distrust}",
            seen=seen.distrust,
            expected="a folder that only its owner can write",
            remedy=seen.distrust_remedy,
        )


def _folders(seen: Surroundings) -> Iterator[Finding]:
    """The folders inside the store are as safe, and as open, as the store."""
    for folder in seen.folders:
        if folder.owner != seen.store.owner:
            yield Finding(
                message=f"`{folder.path}` belongs to user {folder.owner}, not to the store's owner",
                seen=f"owner {folder.owner}",
                expected=f"owner {seen.store.owner}",
                remedy=f"chown {seen.store.owner} {folder.path}",
            )
        if folder.mode & 0o022:
            yield Finding(
                message=f"others may write `{folder.path}`",
                seen=f"mode {folder.mode:04o}",
                expected="a folder that only its owner can write",
                remedy=f"chmod go-w {folder.path}",
            )
        if _closed(folder, seen):
            yield Finding(
                message=f"who may read the store cannot enter `{folder.path}`",
                seen=f"mode {folder.mode:04o}",
                expected=f"as open as the store, mode {seen.store.mode:04o}",
                remedy=f"chmod {'g' if seen.for_group else 'go'}+rx {folder.path}",
            )


def _closed(folder: Folder, seen: Surroundings) -> bool:
    return bool(seen.store.mode & ~folder.mode & 0o055)


def _default_acl(seen: Surroundings) -> Iterator[Finding]:
    """No default ACL opens new folders of the store to others."""
    for folder in seen.folders:
        if folder.acl_writers:
            who = ", ".join(folder.acl_writers)
            yield Finding(
                message=f"a default ACL lets {who} write what is made in `{folder.path}`",
                seen=who,
                expected="no default ACL that grants writing",
                remedy=f"setfacl -R -k {seen.store.path}",
                source="acl(5), object creation and default ACLs",
            )
            return  # one command mends all


def _setgid(seen: Surroundings) -> Iterator[Finding]:
    """A group's store gives its group to every new folder."""
    if not seen.for_group:
        return
    lost = [item for item in seen.folders if not item.mode & 0o2000]
    others = [item for item in seen.folders if item.group != seen.store.group]
    if lost or others:
        first = (lost or others)[0]
        yield Finding(
            message=f"`{first.path}` does not pass the store's group on",
            seen=f"group {first.group}, mode {first.mode:04o}"
            + (f"; {len(lost) + len(others) - 1} more" if len(lost) + len(others) > 1 else ""),
            expected=f"group {seen.store.group} and the setgid bit",
            remedy=f"chgrp -R {seen.store.group} {seen.store.path}"
            f" && find {seen.store.path} -type d -user {seen.store.owner} -exec chmod g+s {{}} +",
            severity="warning",
        )


def _umask(seen: Surroundings) -> Iterator[Finding]:
    """What we make is readable by those whom the store is for."""
    if seen.umask is None:
        raise NotSeen("the system does not tell the umask")
    wanted = seen.store.mode & 0o055 if seen.is_store else 0
    if seen.umask & wanted:
        yield Finding(
            message=f"umask {seen.umask:04o} hides what you make in views from whom they are for",
            seen=f"umask {seen.umask:04o}",
            expected="umask 0027 or 0022; 0002 where several write one view",
            remedy="umask 0022",
            severity="warning",
        )


# --- what the disk can ----------------------------------------------------------------------


def _lasting(seen: Surroundings) -> Iterator[Finding]:
    """The store lies on a disk that stays."""
    kind = seen.store.kind
    if kind is None:
        raise NotSeen("the kernel does not list what is mounted")
    if kind in _IN_MEMORY:
        yield Finding(
            message=f"the store is in memory ({kind}) and gone at the next start",
            seen=f"{seen.store.mount}: {kind}",
            expected="a disk",
            remedy="name a folder on a disk with `--store` or `ENVFORGE_STORE`",
        )
    if kind in _LAYERED:
        yield Finding(
            message="the store is in a container's own layer and gone with it",
            seen=f"{seen.store.mount}: {kind}",
            expected="a volume or a bind mount; the layer copies a file when it is linked",
            remedy=f"start the container with `-v STORE:{seen.store.path}`",
        )


def _writable(seen: Surroundings) -> Iterator[Finding]:
    """Its owner can write the store."""
    if "ro" in seen.store.options:
        yield Finding(
            message=f"`{seen.store.mount}` is mounted read-only: nothing can be fetched here",
            seen="ro",
            expected="rw where models are fetched; ro is fine where they are only read",
            remedy="run `envforge cache prefill` where it is mounted rw",
            severity="warning",
        )
    elif seen.is_ours and not seen.store.writable:
        yield Finding(
            message=f"`{seen.store.nearest}` cannot be written",
            seen=f"owner {seen.store.owner}, mode {seen.store.mode:04o}",
            expected="a folder of yours",
            remedy="name another folder with `--store` or `ENVFORGE_STORE`",
        )


def _hardlinks(seen: Surroundings) -> Iterator[Finding]:
    """The store's filesystem has hardlinks."""
    if _tried(seen, seen.trials.hardlink):
        yield Finding(
            message=f"{seen.store.kind or 'the filesystem'} makes no hardlinks: "
            "each view is a full copy",
            seen=f"link(2): {seen.trials.hardlink}",
            expected="ext4, XFS, Btrfs, ZFS, NFS or another with hardlinks",
            remedy="name a folder on such a filesystem with `--store` or `ENVFORGE_STORE`",
        )


def _one_mount(seen: Surroundings) -> Iterator[Finding]:
    """Views lie where the store's files can be linked to."""
    error = seen.trials.to_views
    if seen.trials.hardlink or not _tried(seen, error, "the folder of views cannot be written"):
        return
    shared = "reflinks, which share the disk but not memory" if _reflinks(seen) else "full copies"
    same = seen.store.device == seen.views.device
    reason = (
        f"`{seen.views.mount}` is another mount of the same disk"
        if same and error == "EXDEV"
        else f"`{seen.views.nearest}` is on another disk"
        if error == "EXDEV"
        else f"link(2) from the store to `{seen.views.nearest}`: {error}"
    )
    yield Finding(
        message=f"{reason}: views are {shared}",
        seen=f"store on {seen.store.mount}, views on {seen.views.mount}: {error}",
        expected="one mount for both: link(2) does not cross mounts, bind mounts included",
        remedy=_mount_remedy(seen) if same else "unset ENVFORGE_VIEWS: views lie in the store then",
        severity="warning",
    )


def _mount_remedy(seen: Surroundings) -> str:
    if seen.in_container:
        return "mount the folder above both into the container, once: `-v PARENT:PARENT`"
    return "unset ENVFORGE_VIEWS, or mount the folder above both, once"


def _reflinks(seen: Surroundings) -> bool:
    return seen.trials.reflink == ""


def _owner_links(seen: Surroundings) -> Iterator[Finding]:
    """We can get hardlinks out of the store: as its owner, or through its service."""
    if not seen.is_store or seen.is_ours:
        return
    if seen.protected_hardlinks is None:
        raise NotSeen("the system does not tell fs.protected_hardlinks")
    if seen.protected_hardlinks and not seen.is_served:
        yield Finding(
            message="only the store's owner may link its files, and no service answers: "
            "views are copies",
            seen=f"fs.protected_hardlinks=1, owner {seen.store.owner}, you {seen.uid}",
            expected="`envforge cache serve`, run by the owner",
            remedy=f"ask the owner to run: envforge cache serve --store {seen.store.path}",
            source="proc_sys_fs(5), protected_hardlinks",
            severity="warning",
        )


def _owner_kept(seen: Surroundings) -> Iterator[Finding]:
    """A file belongs to whoever made it."""
    if _tried(seen, seen.trials.owner_kept) is False:
        yield Finding(
            message="new files belong to another user (an NFS server's root_squash, or a mount "
            "with a fixed owner)",
            seen=f"made by user {seen.uid}, owned by another",
            expected="the maker's own files, or protected_hardlinks forbids to link them",
            remedy="run envforge as the user who owns the store: `sudo -u OWNER envforge …`",
        )


def _mode_kept(seen: Surroundings) -> Iterator[Finding]:
    """Files can be made read-only."""
    if _tried(seen, seen.trials.mode_kept) is False:
        yield Finding(
            message=f"{seen.store.kind or 'the filesystem'} keeps no permissions: "
            "any client can overwrite a shared file",
            seen="chmod 0444 had no effect",
            expected="a filesystem with Unix permissions",
            remedy="name a folder on such a filesystem with `--store` or `ENVFORGE_STORE`",
        )


def _flock(seen: Surroundings) -> Iterator[Finding]:
    """File locks keep two processes apart, also on two hosts."""
    answer = _tried(seen, seen.trials.flock)
    local = sorted(_LOCAL_LOCKS & seen.store.options)
    if answer:
        yield Finding(
            message="flock does nothing here"
            if answer == "nothing"
            else f"flock does not work here ({answer})",
            seen=f"flock(2): {answer}",
            expected="a second holder is kept out",
            remedy="mount with locks (Lustre: `-o flock`); envforge uses leases meanwhile, "
            "Hugging Face clients must not write one cache at once",
            source="huggingface_hub#4306, #4228",
            severity="warning",
        )
    elif local:
        yield Finding(
            message=f"flock holds on this host only ({local[0]})",
            seen=f"mount option {local[0]}",
            expected="locks that all hosts see",
            remedy="mount without it, on Lustre with `-o flock`; or fetch on one host only",
            severity="warning",
        )


def _atime(seen: Surroundings) -> Iterator[Finding]:
    """Reading a file is noted, so that `gc` knows when it was last used."""
    if _tried(seen, seen.trials.read_noted) is False:
        yield Finding(
            message="reading is not noted here (noatime, or a server that does not tell): "
            "last use is the time of the last view or prefill",
            seen=", ".join(sorted(seen.store.options & {"noatime", "ro", "relatime"})) or "not set",
            expected="relatime, if `gc --older-than` shall see who only reads",
            remedy=f"mount -o remount,relatime {seen.store.mount}",
            severity="warning",
        )


def _clock(seen: Surroundings) -> Iterator[Finding]:
    """The filesystem's clock is ours."""
    ahead = _tried(seen, seen.trials.clock_ahead)
    if abs(ahead) > _SKEW:
        where = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            message=f"the file server's clock is {abs(ahead):.0f} s {where} this machine's: "
            "ages and leases are misread",
            seen=f"{ahead:+.0f} s",
            expected=f"within {_SKEW:.0f} s",
            remedy="let both keep time by NTP: `chronyc tracking`",
            severity="warning",
        )


def _space(seen: Surroundings) -> Iterator[Finding]:
    """There is room for models."""
    free, inodes = seen.store.free_bytes, seen.store.free_inodes
    if free < min(_FEW_BYTES, seen.store.all_bytes * 0.1):
        yield Finding(
            message=f"{free / 1e9:.1f} GB are left on `{seen.store.mount or seen.store.nearest}`",
            seen=f"{free / 1e9:.1f} of {seen.store.all_bytes / 1e9:.0f} GB free",
            expected=f"at least {_FEW_BYTES / 1e9:.0f} GB, or a tenth",
            remedy=_more_room(seen, f"du -xh -d 1 {quote(seen.store.nearest)} | sort -h | tail"),
            severity="warning",
        )
    if inodes is not None and inodes < min(_FEW_INODES, (seen.store.all_inodes or 0) * 0.1):
        yield Finding(
            message=f"{inodes} inodes are left on `{seen.store.mount or seen.store.nearest}`",
            seen=f"{inodes} of {seen.store.all_inodes} free",
            expected=f"at least {_FEW_INODES}, or a tenth",
            remedy=_more_room(
                seen, f"du -x --inodes -d 1 {quote(seen.store.nearest)} | sort -n | tail"
            ),
            severity="warning",
        )


def _more_room(seen: Surroundings, look: str) -> str:
    """Where there is no store yet, nothing of it can be removed."""
    return "envforge cache gc --older-than 30d --dry-run" if seen.is_store else look


def _read_rate(seen: Surroundings) -> Iterator[Finding]:
    """The disk is quick enough to load models from."""
    rate = seen.trials.read_rate
    if rate is None:
        raise NotSeen("no file could be read that was not in memory")
    if rate < _SLOW:
        yield Finding(
            message=f"{rate / 1e6:.0f} MB/s: a 7B model in 16 bits takes "
            f"{_MODEL / rate:.0f} s to load",
            seen=f"{rate / 1e6:.0f} MB/s, read in order, not from memory",
            expected=f"{_SLOW / 1e6:.0f} MB/s or more",
            remedy="put the store on a local SSD, with `--store` or `ENVFORGE_STORE`",
            severity="warning",
        )


def _quarantine(seen: Surroundings) -> Iterator[Finding]:
    """No file of wrong bytes waits to be looked at."""
    if seen.quarantined:
        yield Finding(
            message=f"{seen.quarantined} file(s) with wrong bytes in quarantine",
            seen=str(seen.quarantined),
            expected="none; they are of no use, and kept as evidence of a failing disk or proxy",
            remedy=f"rm -f {seen.store.path}/quarantine/*",
            severity="warning",
        )


# --- Hugging Face's own cache and settings --------------------------------------------------


def _foreign(seen: Surroundings) -> Iterator[Finding]:
    """No lock or folder of another user is in the way in the hub's own cache."""
    if seen.hub.foreign_count:
        first = seen.hub.foreign[0]
        more = f" and {seen.hub.foreign_count - 1} more" if seen.hub.foreign_count > 1 else ""
        yield Finding(
            message=f"`{first}`{more} belong to another user: downloads end with PermissionError",
            seen=f"{seen.hub.foreign_count} that you may not write",
            expected="a cache tree of your own",
            remedy="envforge cache view ENV, and let `envforge activate` name it",
            source="huggingface_hub#2580, #3714",
        )


def _variables(seen: Surroundings) -> Iterator[Finding]:
    """Hugging Face's variables mean one cache, the one that was meant."""
    return hub_variables.misuses(
        seen.variables, store=seen.store.path if seen.is_store else "", hub=seen.hub
    )


def _tried(seen: Surroundings, answer: T | None, reason: str = "") -> T:
    if answer is None:
        raise NotSeen(reason or f"`{seen.store.nearest}` cannot be written, so nothing was tried")
    return answer


CHECKS: Final[Mapping[str, Check]] = {
    "store-trusted": _trusted,
    "store-folders": _folders,
    "default-acl": _default_acl,
    "lasting-disk": _lasting,
    "writable": _writable,
    "hardlinks": _hardlinks,
    "owner-kept": _owner_kept,
    "modes-kept": _mode_kept,
    "one-mount": _one_mount,
    "owner-links": _owner_links,
    "setgid": _setgid,
    "umask": _umask,
    "flock": _flock,
    "reads-noted": _atime,
    "clock": _clock,
    "space": _space,
    "read-rate": _read_rate,
    "quarantine": _quarantine,
    "foreign-locks": _foreign,
    "hub-variables": _variables,
}
