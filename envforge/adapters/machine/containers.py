"""Which container we are in, and what its device cgroup allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from envforge.adapters.machine.host_root import HostRoot
from envforge.adapters.machine.mountinfo import Mount
from envforge.verify.facts.machine_files import Container

_VARIABLES: Final = (
    ("APPTAINER_CONTAINER", "apptainer"),
    ("APPTAINER_NAME", "apptainer"),
    ("SINGULARITY_CONTAINER", "apptainer"),
    ("SINGULARITY_NAME", "apptainer"),
    ("KUBERNETES_SERVICE_HOST", "kubernetes"),
    ("SHIFTER_RUNTIME", "shifter"),
    ("CH_RUNNING", "charliecloud"),
)
_FILES: Final = (
    ("/.singularity.d", "apptainer"),
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
)
_GROUPS: Final = (
    (re.compile(r"/kubepods"), "kubernetes"),
    (re.compile(r"/docker[-/][0-9a-f]{12,}|/docker/"), "docker"),
    (re.compile(r"/libpod-[0-9a-f]{12,}"), "podman"),
    (re.compile(r"/(?:cri-)?containerd[-/:]|/crio-"), "containerd"),
    (re.compile(r"/lxc(?:\.payload)?[./]"), "lxc"),
)
_MOUNTS: Final = (
    (re.compile(r"/kubelet/pods/"), "kubernetes"),
    (re.compile(r"/docker/(?:containers|overlay2|volumes)/"), "docker"),
    (re.compile(r"/containers/storage/"), "podman"),
    (re.compile(r"/containerd/"), "containerd"),
)
_OWN_FILES: Final = frozenset({"/", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"})
"""What an engine mounts from its own folders; on a host they lie on the disk."""
_KINDS: Final = {"oci": "docker", "libpod": "podman", "singularity": "apptainer"}


def find_container(
    host: HostRoot, environment: Mapping[str, str], mounts: Sequence[Mount]
) -> Container | None:
    """The container we are in; None: no mark of one."""
    return next(_marks(host, environment, mounts), None)


def _marks(
    host: HostRoot, environment: Mapping[str, str], mounts: Sequence[Mount]
) -> Iterator[Container]:
    """Plainest first: an outer container's marks can be seen inside an inner one."""
    for name, kind in _VARIABLES:
        if environment.get(name):
            yield Container(kind=kind, evidence=name)
    named = environment.get("container")
    if named:
        yield Container(kind=_KINDS.get(named, named), evidence=f"container={named}")
    for path, kind in _FILES:
        if host.exists(path):
            yield Container(kind=kind, evidence=path)
    manager = host.line("/run/systemd/container")
    if manager:
        yield Container(kind=_KINDS.get(manager, manager), evidence="/run/systemd/container")
    yield from _by_group(host)
    yield from _by_mount(mounts)


def _by_group(host: HostRoot) -> Iterator[Container]:
    """Of the first process: on a host, a shell may well run in a group of its own."""
    text = host.text("/proc/1/cgroup") or ""
    for pattern, kind in _GROUPS:
        if pattern.search(text):
            yield Container(kind=kind, evidence="/proc/1/cgroup")


def _by_mount(mounts: Sequence[Mount]) -> Iterator[Container]:
    for mount in mounts:
        if mount.point in _OWN_FILES:
            told = " ".join([mount.root, mount.source, *sorted(mount.options)])
            for pattern, kind in _MOUNTS:
                if pattern.search(told):
                    yield Container(kind=kind, evidence=f"the mount on {mount.point}")


# --- the device cgroup ----------------------------------------------------------------------


def device_rules(host: HostRoot) -> tuple[str, ...] | None:
    """Of version 1; version 2 keeps its rules in a program that cannot be read."""
    for line in (host.text("/proc/self/cgroup") or "").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3 and "devices" in fields[1].split(","):
            base = "/sys/fs/cgroup/devices"
            for path in (f"{base}{fields[2].rstrip('/')}", base):
                text = host.text(f"{path}/devices.list")
                if text is not None:
                    return tuple(item.strip() for item in text.splitlines() if item.strip())
    return None
