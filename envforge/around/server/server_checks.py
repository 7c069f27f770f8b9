"""What of a machine is in the way of everybody who works on it: checks of facts.

Each looks at what was seen and yields what is wrong, with what mends it; its docstring is the
claim. `TOPICS` is the table. The driver, the GPUs and the model store have checks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from shlex import quote
from statistics import median
from typing import Final
from urllib.parse import urlsplit

from envforge.around.server.server_facts import Address, PackageCache, ServerFacts, Spot
from envforge.model.finding import Finding, NotSeen
from envforge.model.place import Place
from envforge.model.wording import counted, listed, size

Check = Callable[[ServerFacts], Iterator[Finding]]

ENVIRONMENTS: Final = "environments"
CACHE: Final = "package cache"
HOME: Final = "home"
TEMPORARY: Final = "temporary files"
OWN: Final = "envforge's cache"

_LITTLE: Final = 20 * 10**9
"""Bytes in which two CUDA environments of torch fit, archives included."""
_FULL: Final = 2 * 10**9
_FEW_FILES: Final = 100_000
"""Inodes: one environment of torch has about 50,000 files."""
_NO_FILES: Final = 10_000
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_LAYERED: Final = frozenset({"overlay", "aufs"})
_RIGHT: Final = 5.0
_WARN_SKEW: Final = 30.0
_SKEW: Final = 300.0
"""Seconds beyond which Kerberos refuses tickets (krb5.conf(5), clockskew); signed addresses of
object stores allow 900."""
_SLOW: Final = 5000.0
"""Milliseconds for one small answer: an index of many packages takes minutes then."""


# --- disks ----------------------------------------------------------------------------------


def _room(seen: ServerFacts) -> Iterator[Finding]:
    """Every disk that work needs has room."""
    for spots in _by_disk(seen.spots):
        place = spots[0].place
        if place.free_bytes < max(_needed(spots), min(_LITTLE, place.all_bytes * 0.1)):
            yield Finding(
                message=f"{size(place.free_bytes)} are left on `{place.mount or place.nearest}`"
                f" ({_names(spots)})",
                seen=f"{size(place.free_bytes)} of {size(place.all_bytes)} free",
                expected=f"at least {size(_LITTLE)}, or a tenth",
                remedy=_largest(spots),
                severity="error" if place.free_bytes < _FULL else "warning",
            )


def _needed(spots: list[Spot]) -> int:
    """Bytes without which nothing can be installed there, however small the disk is."""
    return _FULL if {ENVIRONMENTS, CACHE} & {item.name for item in spots} else 0


def _files(seen: ServerFacts) -> Iterator[Finding]:
    """Every disk that work needs can take more files."""
    for spots in _by_disk(seen.spots):
        place = spots[0].place
        if place.free_inodes is None or not place.all_inodes:
            continue  # made as they are needed: btrfs, some file servers
        if place.free_inodes < min(_FEW_FILES, place.all_inodes * 0.1):
            yield Finding(
                message=f"{place.free_inodes:,} inodes are left on"
                f" `{place.mount or place.nearest}` ({_names(spots)})",
                seen=f"{place.free_inodes:,} of {place.all_inodes:,} free",
                expected=f"at least {_FEW_FILES:,}, or a tenth",
                remedy=f"du -x --inodes -d 1 {quote(spots[0].place.nearest)} | sort -n | tail",
                severity="error" if place.free_inodes < _NO_FILES else "warning",
            )


def _writable(seen: ServerFacts) -> Iterator[Finding]:
    """Where environments, packages and temporary files go can be written."""
    for spot in seen.spots:
        place = spot.place
        if "ro" in place.options:
            yield Finding(
                message=f"`{place.path}` ({spot.name}) is on a file system mounted read-only",
                seen=f"ro on {place.mount}",
                expected="rw",
                remedy=f"sudo mount -o remount,rw {quote(place.mount or '/')}"
                "  # when `dmesg` tells no error of the disk",
            )
    closed: dict[str, list[Spot]] = {}
    for spot in seen.spots:
        if not spot.place.writable and "ro" not in spot.place.options:
            closed.setdefault(spot.place.nearest, []).append(spot)
    for nearest, spots in closed.items():
        place = spots[0].place
        is_home = any(spot.name == HOME for spot in spots)
        remedies = [_ELSEWHERE[spot.name] for spot in spots if spot.name in _ELSEWHERE]
        yield Finding(
            message=f"you may not write `{nearest}` ({_names(spots)})",
            seen=f"owner {place.owner}, group {place.group}, mode {place.mode:04o}",
            expected="a folder that you may write",
            remedy=_for_you(place) if is_home else " && ".join(remedies),
        )


_ELSEWHERE: Final = {
    ENVIRONMENTS: "export ENVFORGE_PREFIXES=$HOME/envs",
    CACHE: "export ENVFORGE_PACKAGE_CACHE=$HOME/.conda/pkgs",
    OWN: "export ENVFORGE_CACHE=$HOME/.cache/envforge",
    TEMPORARY: "mkdir -p $HOME/tmp && export TMPDIR=$HOME/tmp",
}


def _for_you(place: Place) -> str:
    """A command that gives you the folder, but nothing above it."""
    if place.exists:
        return f"sudo chown $USER {quote(place.path)}"
    return f"sudo install -d -o $USER {quote(place.path)}"


def _executable(seen: ServerFacts) -> Iterator[Finding]:
    """Programs can be started from where environments and temporary files are."""
    for name, severity in ((ENVIRONMENTS, "error"), (TEMPORARY, "warning")):
        spot = seen.spot(name)
        if spot is not None and "noexec" in spot.place.options:
            what = (
                "no interpreter of an environment starts"
                if severity == "error"
                else "compilers (Triton, torch.compile, pip) cannot run what they make there"
            )
            yield Finding(
                message=f"`{spot.place.path}` ({name}) is mounted noexec: {what}",
                seen=f"noexec on {spot.place.mount}",
                expected="a mount that allows programs",
                remedy=f"sudo mount -o remount,exec {quote(spot.place.mount or '/')}"
                if severity == "error"
                else _ELSEWHERE[TEMPORARY],
                severity="error" if severity == "error" else "warning",
            )


def _lasting(seen: ServerFacts) -> Iterator[Finding]:
    """Environments and packages are on a disk that outlives a restart."""
    for name in (ENVIRONMENTS, CACHE):
        spot = seen.spot(name)
        if spot is not None and spot.place.kind in _IN_MEMORY | _LAYERED:
            where = "memory" if spot.place.kind in _IN_MEMORY else "a container's own layer"
            yield Finding(
                message=f"`{spot.place.path}` ({name}) is in {where}, and gone with the next start",
                seen=f"{spot.place.kind} on {spot.place.mount}",
                expected="a disk",
                remedy=_ELSEWHERE[name].replace("$HOME", "/path/on/a/disk"),
                severity="warning",
            )


def _linked(seen: ServerFacts) -> Iterator[Finding]:
    """Environments can share the package cache's files by hardlinks."""
    cache, environments = seen.spot(CACHE), seen.spot(ENVIRONMENTS)
    if cache is None or environments is None:
        raise NotSeen("where packages or environments go is not known")
    one, other = cache.place, environments.place
    if one.device != other.device:
        yield Finding(
            message=f"package cache (`{one.path}`) and environments (`{other.path}`) are on two"
            " disks: every environment is a full copy",
            seen=f"{one.mount} and {other.mount}",
            expected="one file system",
            remedy=f"export ENVFORGE_PACKAGE_CACHE={quote(_beside(other, one.path))}",
            source="conda documentation, pkgs_dirs",
            severity="warning",
        )


def _sticky(seen: ServerFacts) -> Iterator[Finding]:
    """Nobody can remove or exchange other people's temporary files."""
    spot = seen.spot(TEMPORARY)
    if spot is None or not spot.place.mode & 0o002 or spot.place.mode & 0o1000:
        return
    yield Finding(
        message=f"everybody may remove or exchange everybody's files in `{spot.place.nearest}`",
        seen=f"mode {spot.place.mode:04o}",
        expected="the sticky bit, mode 1777",
        remedy=f"sudo chmod 1777 {quote(spot.place.nearest)}",
    )


# --- quotas ---------------------------------------------------------------------------------


def _quota(seen: ServerFacts) -> Iterator[Finding]:
    """Your quota leaves room for an environment."""
    for spots in _by_disk(seen.spots):
        blocks, files = spots[0].quota_bytes, spots[0].quota_files
        names, where = _names(spots), spots[0].place.mount or spots[0].place.nearest
        if blocks is not None and blocks < _LITTLE:
            yield Finding(
                message=f"your quota leaves {size(blocks)} on `{where}` ({names})",
                seen=f"{size(blocks)} left",
                expected=f"at least {size(_LITTLE)}",
                remedy=_largest(spots),
                severity="error" if blocks < _FULL else "warning",
            )
        if files is not None and files < _FEW_FILES:
            yield Finding(
                message=f"your quota leaves {files:,} files on `{where}` ({names})",
                seen=f"{files:,} left",
                expected=f"at least {_FEW_FILES:,}: an environment of torch has some 50,000",
                remedy=f"du --inodes -d 1 {quote(spots[0].place.nearest)} | sort -n | tail",
                severity="error" if files < _NO_FILES else "warning",
            )


def _remote_quota(seen: ServerFacts) -> Iterator[Finding]:
    """No file server has a quota that cannot be seen from here."""
    remote = [item for item in seen.spots if item.is_remote]
    if remote:
        raise NotSeen(f"{_names(remote)}: on a file server; `quota -s` may tell")
    yield from ()


# --- package caches -------------------------------------------------------------------------


def _entered_caches(seen: ServerFacts) -> Iterator[Finding]:
    """Package caches that settings name can be entered."""
    for cache in _there(seen):
        if cache.is_closed:
            yield Finding(
                message=f"the package cache `{cache.place.path}`, which settings name, is closed"
                " to you",
                seen=f"owner {cache.place.owner}, group {cache.place.group},"
                f" mode {cache.place.mode:04o}",
                expected="folders that everybody may enter who uses the cache",
                remedy=f"sudo chmod o+rx {quote(cache.place.path)}  # or join its group",
            )
    for cache in seen.caches:
        if cache.is_hidden:
            yield Finding(
                message=f"whether there is a package cache `{cache.place.path}`, which settings"
                f" name, cannot be seen: `{cache.place.nearest}` is closed to you",
                seen=f"owner {cache.place.owner}, mode {cache.place.mode:04o}",
                expected="folders that everybody may enter who uses the cache",
                remedy=f"sudo chmod go+x {quote(cache.place.nearest)}"
                "  # or take it out of `pkgs_dirs`",
                severity="warning",
            )


def _safe_caches(seen: ServerFacts) -> Iterator[Finding]:
    """Strangers cannot exchange packages that environments are made of."""
    for cache in _there(seen):
        if cache.place.mode & 0o002:
            yield Finding(
                message=f"everybody may write `{cache.place.path}`: what is exchanged there runs"
                " in every environment made from it",
                seen=f"mode {cache.place.mode:04o}",
                expected="written by its owner, or one group",
                remedy=f"sudo chmod o-w {quote(cache.place.path)}",
            )


def _group_caches(seen: ServerFacts) -> Iterator[Finding]:
    """A group's package cache gives its group to what is put into it."""
    for cache in _there(seen):
        if cache.place.mode & 0o020 and not cache.place.mode & 0o2000:
            yield Finding(
                message=f"`{cache.place.path}` does not pass its group on: what one member puts"
                " there, the others cannot replace",
                seen=f"mode {cache.place.mode:04o}",
                expected="the setgid bit, mode 2775",
                remedy=f"sudo chmod g+s {quote(cache.place.path)}",
                severity="warning",
            )


def _open_caches(seen: ServerFacts) -> Iterator[Finding]:
    """Every package in the caches can be read."""
    for cache in _there(seen):
        if cache.closed_count:
            names = listed(cache.closed, 2, quote="`")
            yield Finding(
                message=f"you may not read {counted(cache.closed_count, 'package')} in"
                f" `{cache.place.path}`: {names}",
                seen=f"{cache.closed_count} of {cache.packages} closed",
                expected="packages that everybody may read who uses the cache",
                remedy=f"sudo chmod -R go+rX {quote(cache.place.path)}",
            )


def _linkable_caches(seen: ServerFacts) -> Iterator[Finding]:
    """Packages in the cache can be hardlinked by you."""
    ours = next((item for item in _there(seen) if item.is_ours), None)
    if ours is None:
        return
    if ours.foreign_count and seen.protected_hardlinks is None:
        raise NotSeen("the system does not tell fs.protected_hardlinks")
    if ours.foreign_count and seen.protected_hardlinks and seen.uid != 0:
        yield Finding(
            message=f"{counted(ours.foreign_count, 'package')} in `{ours.place.path}` belong to"
            " others, and you may not write them: they are copied into your environments",
            seen="fs.protected_hardlinks = 1",
            expected="packages of a group that may write them, or of your own",
            remedy=f"sudo chmod -R g+w {quote(ours.place.path)}  # for a group that is trusted",
            source="proc_sys_fs(5), protected_hardlinks",
            severity="warning",
        )


def _clean_caches(seen: ServerFacts) -> Iterator[Finding]:
    """Nothing half-done lies in the caches."""
    for cache in _there(seen):
        if cache.leftover_count:
            yield Finding(
                message=f"{counted(cache.leftover_count, 'leftover')} of interrupted downloads in"
                f" `{cache.place.path}`: {listed(cache.leftovers, 2, quote='`')}",
                seen=f"{cache.leftover_count}, older than a day",
                expected="none",
                remedy="rm -r " + " ".join(quote(item) for item in cache.leftovers),
                severity="warning",
            )


def _there(seen: ServerFacts) -> Iterator[PackageCache]:
    return (item for item in seen.caches if item.place.exists)


# --- servers --------------------------------------------------------------------------------


def _channels(seen: ServerFacts) -> Iterator[Finding]:
    """Channels answer."""
    return _unanswered(seen, "channel")


def _indexes(seen: ServerFacts) -> Iterator[Finding]:
    """Wheel indexes answer."""
    return _unanswered(seen, "wheel index")


def _hub(seen: ServerFacts) -> Iterator[Finding]:
    """The hub answers."""
    return _unanswered(seen, "hub")


def _unanswered(seen: ServerFacts, kind: str) -> Iterator[Finding]:
    asked = [item for item in seen.addresses if item.kind == kind]
    if not asked or all(item.state == "offline" for item in asked):
        raise NotSeen(next((item.reason for item in asked), "none was asked"))
    for several in _by_cause(asked):
        yield _no_answer(several)
    for item in asked:
        if item.milliseconds is not None and item.milliseconds > _SLOW:
            yield Finding(
                message=f"{_called([item])} took {item.milliseconds / 1000:.1f} s for one"
                " small answer",
                seen=f"{item.milliseconds:.0f} ms",
                expected=f"below {_SLOW:.0f} ms",
                remedy="envforge lock ENV --mirror ROOT, of a mirror that is near",
                severity="warning",
            )


def _by_cause(asked: list[Address]) -> list[list[Address]]:
    """Those that failed, those of one server for one reason together."""
    found: dict[tuple[str, str, str], list[Address]] = {}
    for item in asked:
        if item.state not in {"answers", "offline"}:
            alone = item.state == "missing" or item.cause in {"login", "forbidden"}
            server = item.url if alone else urlsplit(item.url).netloc
            found.setdefault((item.state, server, item.reason), []).append(item)
    return list(found.values())


def _no_answer(several: list[Address]) -> Finding:
    """One finding for what one cause did to these."""
    first = several[0]
    many = len(several) > 1
    words = {
        "silent": "do not answer" if many else "does not answer",
        "fails": "fail" if many else "fails",
        "refuses": "refuse" if many else "refuses",
        "missing": "are not to be had" if many else "is not to be had",
    }
    return Finding(
        message=f"{_called(several)} (`{first.url}`)"
        f" {'cannot be trusted' if first.cause in _CERTIFICATE else words[first.state]}"
        + (f": {first.reason}" if first.reason else ""),
        seen=first.reason or first.state,
        expected="an answer",
        remedy=_try_it(first),
        severity="warning" if all(item.optional for item in several) else "error",
    )


def _called(several: list[Address]) -> str:
    kind = several[0].kind
    if kind == "hub":
        return "the hub of models"
    names = listed([item.name for item in several], 4)
    return f"{kind}{'s' if len(several) > 1 else ''} {names}"


def _try_it(item: Address) -> str:
    if not item.url.startswith(("http://", "https://")):
        return f"ls -d {quote(item.url)}" if item.url else _SETTINGS
    if item.state == "silent":
        return f"curl -sSI {quote(item.url)} || export ENVFORGE_OFFLINE=1"
    remedy = _REMEDIES.get((item.cause, item.kind)) or _REMEDIES.get((item.cause, ""))
    host = quote(urlsplit(item.url).hostname or "")
    return (remedy or "curl -sSI {url}").format(url=quote(item.url), host=host)


_SETTINGS: Final = "pip config list; cat ~/.condarc"
_CERTIFICATE: Final = frozenset({"certificate", "validity"})
_REMEDIES: Final = {
    ("login", ""): "echo machine {host} login USER password PASSWORD >> ~/.netrc"
    " && chmod 600 ~/.netrc",
    ("login", "hub"): "hf auth login",
    (
        "proxy",
        "",
    ): "export HTTP_PROXY=http://USER:PASSWORD@PROXY:PORT; export HTTPS_PROXY=$HTTP_PROXY",
    ("forbidden", ""): "curl -sSi {url} | head -n 40  # who forbids it: the server, a firewall",
    ("busy", ""): "envforge lock ENV --mirror ROOT  # of a mirror that is near; or wait",
    ("busy", "wheel index"): "export PIP_INDEX_URL=MIRROR  # one that is near; or wait",
    ("busy", "hub"): "hf auth login  # who is known may ask more often; or wait",
    ("certificate", ""): "export SSL_CERT_FILE=BUNDLE.pem  # your site's certificates",
    ("validity", ""): "sudo timedatectl set-ntp true && date -u"
    "  # if the clock is right, the server needs a new certificate",
}
"""By cause and kind of server; without a kind: of any other."""


# --- clock and modes ------------------------------------------------------------------------


def _clock(seen: ServerFacts) -> Iterator[Finding]:
    """This machine's clock is right, by the servers' word."""
    ahead, count = _ahead(seen)
    if ahead is None:
        raise NotSeen("no server told the time")
    if abs(ahead) >= _WARN_SKEW:
        yield Finding(
            message=f"this machine's clock is {abs(ahead):.0f} s {'slow' if ahead > 0 else 'fast'}:"
            " certificates, logins and signed downloads are refused when it is far off",
            seen=f"{-ahead:+.0f} s, by {counted(count, 'server')}",
            expected=f"within {_WARN_SKEW:.0f} s",
            remedy="sudo timedatectl set-ntp true && timedatectl timesync-status",
            severity="error" if abs(ahead) >= _SKEW else "warning",
        )


def _ahead(seen: ServerFacts) -> tuple[float | None, int]:
    """Seconds that the servers' clocks are ahead of ours, and how many told; None: nobody."""
    told = [item.clock_ahead for item in seen.addresses if item.clock_ahead is not None]
    return (median(told) if told else None), len(told)


def _kept(seen: ServerFacts) -> Iterator[Finding]:
    """Something keeps the clock right."""
    if seen.clock_kept is None:
        raise NotSeen("the kernel does not tell")
    ahead, _ = _ahead(seen)
    if not seen.clock_kept and (ahead is None or abs(ahead) > _RIGHT):  # a host may keep it
        yield Finding(
            message="the kernel's clock is not kept by NTP or the like: it will drift",
            seen="unsynchronised (adjtimex)",
            expected="synchronised",
            remedy="sudo timedatectl set-ntp true",
            source="adjtimex(2), STA_UNSYNC",
            severity="warning",
        )


def _umask(seen: ServerFacts) -> Iterator[Finding]:
    """What you make can be used by a group that works there, and changed by no stranger."""
    if seen.umask is None:
        raise NotSeen("the system does not tell the umask")
    if not seen.umask & 0o002:
        yield Finding(
            message=f"umask {seen.umask:04o} lets everybody change what you make: environments,"
            " packages, and the programs in them",
            seen=f"umask {seen.umask:04o}",
            expected="umask 0022, 0027 or 0002",
            remedy="umask 0022",
        )
    shared = [item for item in _there(seen) if item.is_ours and item.place.mode & 0o070]
    lost = seen.umask & (shared[0].place.mode & 0o070) if shared else 0
    if lost:
        yield Finding(
            message=f"umask {seen.umask:04o} closes to the group what you put into"
            f" `{shared[0].place.path}`, which is open to it",
            seen=f"umask {seen.umask:04o}, folder {shared[0].place.mode:04o}",
            expected="umask 0002 where a group writes, 0022 where it reads",
            remedy="umask 0002" if shared[0].place.mode & 0o020 else "umask 0022",
            severity="warning",
        )


def _login_umask(seen: ServerFacts) -> Iterator[Finding]:
    """New logins make files that nobody but their group can write."""
    if seen.login_umask is None:
        raise NotSeen("/etc/login.defs does not tell")
    if not seen.login_umask & 0o002:
        yield Finding(
            message=f"logins get umask {seen.login_umask:04o}: everybody may change everybody's"
            " files",
            seen=f"UMASK {seen.login_umask:03o}",
            expected="022, 027 or 002",
            remedy="sudo sed -i 's/^UMASK.*/UMASK 022/' /etc/login.defs",
            source="login.defs(5), UMASK; pam_umask(8)",
        )


# --- words ----------------------------------------------------------------------------------


def _by_disk(spots: tuple[Spot, ...]) -> list[list[Spot]]:
    """Those on one file system together: it is full for all of them at once."""
    found: dict[int, list[Spot]] = {}
    for spot in spots:
        found.setdefault(spot.place.device, []).append(spot)
    return list(found.values())


def _names(spots: list[Spot]) -> str:
    return ", ".join(spot.name for spot in spots)


def _largest(spots: list[Spot]) -> str:
    """A command that shows what takes the space."""
    return f"du -xh -d 1 {quote(spots[0].place.nearest)} | sort -h | tail"


def _beside(place: Place, taken: str) -> str:
    """A folder for packages on the disk of this one; beside a mount lies another disk."""
    above = place.path.rstrip("/").rpartition("/")[0]
    beside, mount = f"{above}/pkgs", (place.mount or "/").rstrip("/")
    is_same_disk = above == mount or above.startswith(f"{mount}/")
    return beside if is_same_disk and beside != taken else f"{place.path.rstrip('/')}/.pkgs"


TOPICS: Final[Mapping[str, Mapping[str, Check]]] = {
    "disks": {
        "disk-room": _room,
        "disk-files": _files,
        "disk-writable": _writable,
        "disk-executable": _executable,
        "disk-lasting": _lasting,
        "disk-linked": _linked,
        "tmp-sticky": _sticky,
    },
    "quotas": {"quota": _quota, "quota-remote": _remote_quota},
    "package cache": {
        "cache-entered": _entered_caches,
        "cache-safe": _safe_caches,
        "cache-group": _group_caches,
        "cache-open": _open_caches,
        "cache-linkable": _linkable_caches,
        "cache-clean": _clean_caches,
    },
    "network": {"channels": _channels, "wheel-indexes": _indexes, "hub": _hub},
    "clock": {"clock-right": _clock, "clock-kept": _kept},
    "umask": {"umask-own": _umask, "umask-login": _login_umask},
}
"""Topic to its checks."""
