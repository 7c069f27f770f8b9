"""The running kernel and NVIDIA's module for it: loaded, built, signed, forbidden."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final, Literal

from envforge.adapters.machine.host_root import HostRoot
from envforge.verify import probe_document
from envforge.verify.facts.machine_files import Kernel

_MODULE: Final = re.compile(
    r"nvidia(?:[-_](?:current|open|server|legacy\w*|tesla|srv|\d+\w*))*\.ko(?:\.(?:xz|zst|gz))?"
)
"""`nvidia.ko`, Debian's `nvidia-current.ko` and the like; not `nvidia-uvm.ko`."""
_TREES: Final = (
    "/lib/modules",
    "/usr/lib/modules",
    "/run/booted-system/kernel-modules/lib/modules",  # NixOS
)
_PLACES: Final = (
    "updates/dkms",
    "updates",
    "extra",
    "extra/nvidia",
    "extramodules",
    "weak-updates",
    "weak-updates/nvidia",
    "kernel/drivers/video",
    "kernel/drivers/video/nvidia",
    "misc",
    "nvidia",
)
"""Where other kernels keep the module; for the running one every folder is looked at."""
_MOST: Final = 40_000
"""Files of one kernel; the largest distribution kernels have some 8 000."""
_SOURCES: Final = re.compile(r"nvidia(?:-[a-z0-9.]+)*")
_SIGNATURE: Final = b"~Module signature appended~\n"
_SECURE_BOOT: Final = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_MODPROBE: Final = ("/etc/modprobe.d", "/run/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")
_KEPT_OUT: Final = re.compile(
    r"^\s*(?:blacklist\s+nvidia|alias\s+nvidia\s+off|install\s+nvidia\s+(?:/usr)?/s?bin/(?:false|true))"
    r"\s*(?:#.*)?$",
    re.MULTILINE,
)
_LOGS: Final = ("/var/log/kern.log", "/var/log/dmesg", "/var/log/messages", "/var/log/syslog")
_LOG_TAIL: Final = 1 << 17
_LOG_LINES: Final = 20
_LOGGED: Final = re.compile(
    r"(?:NVRM: .*|nvidia: .*(?:Key was rejected|Required key|signature|taint).*"
    r"|.*Loading of (?:unsigned module|module with unavailable key) is rejected.*)"
)


def read_kernel(host: HostRoot, *, has_gpu: bool, in_image: bool) -> Kernel:
    """What the kernel tells.

    Args:
        host: the machine's files.
        has_gpu: an NVIDIA GPU is on the bus, or no bus is in sight; else no module is looked for.
        in_image: the files are a container's, and tell nothing of the kernel's own folder.
    """
    report = host.text("/proc/driver/nvidia/version")
    line = (report or "").partition("\n")[0]
    release = host.line("/proc/sys/kernel/osrelease") or _release_of(host)
    loaded = _loaded(host)
    kernel = Kernel(
        release=release,
        modules=loaded,
        driver=probe_document.kernel_version(line)
        or host.line("/sys/module/nvidia/version")
        or None,
        flavour=_flavour(line),
        command_line=tuple((host.text("/proc/cmdline") or "").split()),
        secure_boot=_secure_boot(host),
    )
    if not has_gpu:
        return kernel
    return _with_module(host, kernel, in_image=in_image)


def _release_of(host: HostRoot) -> str | None:
    found = re.match(r"Linux version (\S+)", host.line("/proc/version"))
    return found[1] if found else None


def _loaded(host: HostRoot) -> frozenset[str] | None:
    text = host.text("/proc/modules")
    if text is None:
        return None
    return frozenset(line.split(" ", 1)[0] for line in text.splitlines() if line)


def _flavour(line: str) -> Literal["open", "proprietary"] | None:
    if not line:
        return None
    return "open" if "Open Kernel Module" in line else "proprietary"


def _secure_boot(host: HostRoot) -> bool | None:
    """EFI variables begin with four bytes of attributes; the older interface has none."""
    data = host.data(f"/sys/firmware/efi/efivars/{_SECURE_BOOT}", 16)
    if data is not None and len(data) > 4:
        return data[4] == 1
    data = host.data(f"/sys/firmware/efi/vars/{_SECURE_BOOT}/data", 16)
    return data[0] == 1 if data else None


# --- the module that is not loaded ----------------------------------------------------------


def _with_module(host: HostRoot, kernel: Kernel, *, in_image: bool) -> Kernel:
    kernel = replace(kernel, log=tuple(_log(host)))
    if kernel.is_loaded or in_image or kernel.release is None:
        return kernel
    trees = [f"{tree}/{kernel.release}" for tree in _TREES]
    built = tuple(dict.fromkeys(host.real(path) for tree in trees for path in _built(host, tree)))
    return replace(
        kernel,
        built=built,
        has_tree=any(host.exists(tree) for tree in trees),
        built_for=tuple(_built_for_others(host, kernel.release)),
        has_source=_has_source(host),
        signed=_is_signed(host, built[0]) if built else None,
        kept_out_by=_kept_out_by(host, kernel),
    )


def _built(host: HostRoot, tree: str) -> Iterator[str]:
    for path in host.below(tree, _MOST):
        if _MODULE.fullmatch(path.rpartition("/")[2]) and host.exists(path):
            yield path


def _built_for_others(host: HostRoot, release: str) -> Iterator[str]:
    for other in host.names(_TREES[0]):
        folders = [f"{_TREES[0]}/{other}/{place}" for place in _PLACES]
        folders += [
            f"{_TREES[0]}/{other}/kernel/{name}"
            for name in host.names(f"{_TREES[0]}/{other}/kernel")
            if name.startswith("nvidia")  # Ubuntu's own builds
        ]
        names = (name for folder in folders for name in host.names(folder))
        if other != release and any(_MODULE.fullmatch(name) for name in names):
            yield other


def _has_source(host: HostRoot) -> bool:
    places = ("/var/lib/dkms", "/usr/src")
    return any(_SOURCES.fullmatch(name) for place in places for name in host.names(place))


def _is_signed(host: HostRoot, path: str) -> bool | None:
    """The kernel's mark stands at the very end of the file; packed ones hide it."""
    if not path.endswith(".ko"):
        return None
    return host.end(path, 64).encode("utf-8", "replace").endswith(_SIGNATURE)


def _kept_out_by(host: HostRoot, kernel: Kernel) -> str | None:
    named = kernel.option("modprobe.blacklist", "module_blacklist") or ""
    if "nvidia" in named.split(","):
        return "the kernel's command line"
    for folder in _MODPROBE:
        for name in host.names(folder):
            path = f"{folder}/{name}"
            if name.endswith(".conf") and _KEPT_OUT.search(host.text(path, 1 << 16) or ""):
                return path
    return None


def _log(host: HostRoot) -> Iterator[str]:
    lines: list[str] = []
    for path in _LOGS:
        text = host.end(path, _LOG_TAIL)
        lines += [found[0].strip() for found in map(_LOGGED.search, text.splitlines()) if found]
    yield from list(dict.fromkeys(lines))[-_LOG_LINES:]
