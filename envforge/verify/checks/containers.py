"""Does the container get the machine's GPUs, and of the driver what it needs?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envforge.model.finding import Finding, Severity
from envforge.verify.check import CannotLook, NotApplicable, check
from envforge.verify.checks.machine import files_of, present
from envforge.verify.facts import Container, DriverCopy, HostFacts, MachineFiles, Subject
from envforge.verify.image_requirements import Offer, requirements, unmet

_NO_GPUS: Final = ("void", "none", "")
_SMALL_SHM: Final = 64 << 20
"""What Docker and Kubernetes give where nothing is asked for."""
_IN_IMAGE: Final = ("LD_LIBRARY_PATH", "cache", "default", "leftover")


def _container(files: MachineFiles) -> Container:
    if files.container is None:
        raise NotApplicable("this is no container")
    return files.container


def _has_nodes(files: MachineFiles) -> bool:
    return bool(files.gpu_nodes) or files.node("dxg") is not None or files.is_tegra


@check(
    level="static",
    needs=("host",),
    symptom="INFO: Could not find any nv files on this host; is_available() is False",
    why="an Apptainer container has the driver's libraries only where they are handed in",
    source="apptainer/singularity#5966, apptainer/singularity#4783; Apptainer user guide, `--nv`",
    cause="The container was started without `--nv`, the host's libraries were not found, or"
    " `--contain` took /dev away.",
    fix="Start it with `--nv`, on a machine with a driver.",
)
def singularity_no_nv(subject: Subject) -> Iterator[Finding]:
    """An Apptainer container was handed the driver."""
    host, files = files_of(subject)
    if _container(files).kind != "apptainer":
        raise NotApplicable("this is no Apptainer container")
    has_library = host.cuda.library is not None
    if host.usable_gpus or (has_library and _has_nodes(files)):
        return
    if has_library and not files.has_hardware:
        raise CannotLook("no NVIDIA GPU is in sight of this container")
    yield Finding(
        message="this Apptainer container has no CUDA driver: it was started without `--nv`"
        if not has_library
        else "this Apptainer container has the driver's libraries and no device nodes",
        seen=_seen(files, host),
        expected="libcuda.so.1 in /.singularity.d/libs, and /dev/nvidia0",
        remedy="apptainer exec --nv IMAGE COMMAND (with `--contain`, also `--bind /dev`)"
        if has_library
        else "apptainer exec --nv IMAGE COMMAND",
        severity=_severity(subject, host, files),
    )


def _is_gpu_expected(subject: Subject, host: HostFacts, files: MachineFiles) -> bool:
    """Whether something says that there is a GPU for us."""
    return bool(subject.require_gpu or files.has_hardware or _has_nodes(files) or _was_asked(host))


def _was_asked(host: HostFacts) -> bool:
    value = host.variables.get("NVIDIA_VISIBLE_DEVICES")
    return value is not None and value.strip().lower() not in _NO_GPUS


def _severity(subject: Subject, host: HostFacts, files: MachineFiles) -> Severity:
    return "error" if _is_gpu_expected(subject, host, files) else "warning"


def _seen(files: MachineFiles, host: HostFacts) -> str:
    found = [f"{_container(files).kind} container ({_container(files).evidence})"]
    found.append("device nodes" if _has_nodes(files) else "no /dev/nvidia*")
    found.append(f"`{host.cuda.library}`" if host.cuda.library else "no libcuda.so.1")
    if files.gpus:
        found.append(f"{len(files.gpus)} NVIDIA GPU(s) on the bus")
    return ", ".join(found)


@check(
    level="static",
    needs=("host",),
    symptom='could not select device driver "" with capabilities: [[gpu]]; no /dev/nvidia* inside',
    why="a container has only the GPUs it was started with",
    source="NVIDIA/nvidia-docker#1034, NVIDIA/nvidia-container-toolkit#871",
    cause="The container was started without asking for GPUs; or the container toolkit is not"
    " installed, not configured for this engine, or the engine was not restarted since.",
    fix="Ask for GPUs; install the container toolkit, `nvidia-ctk runtime configure`, restart the"
    " engine.",
)
def container_without_gpu(subject: Subject) -> Iterator[Finding]:
    """The container was started with the machine's GPUs."""
    host, files = files_of(subject)
    container = _container(files)
    if container.kind == "apptainer":
        raise NotApplicable("Apptainer has a check of its own")
    if host.usable_gpus or _has_nodes(files):
        return
    value = host.variables.get("NVIDIA_VISIBLE_DEVICES")
    if value is not None and not _was_asked(host):
        raise NotApplicable(f"the container is to have no GPU (NVIDIA_VISIBLE_DEVICES=`{value}`)")
    could_be_there = files.pci is None or (_was_asked(host) and subject.require_gpu)
    is_wanted = _was_asked(host) or subject.require_gpu
    if not (files.has_hardware or (is_wanted and could_be_there)):
        raise CannotLook("no NVIDIA GPU is in sight of this container")
    hook = "; the NVIDIA container runtime did not run" if _was_asked(host) else ""
    yield Finding(
        message=f"this {container.kind} container was started without GPUs{hook}",
        seen=_seen(files, host) + (f", NVIDIA_VISIBLE_DEVICES={value}" if value else ""),
        expected="/dev/nvidiactl, /dev/nvidia0, and libcuda.so.1 of the host",
        remedy=_how_to_ask(container.kind),
    )


def _how_to_ask(kind: str) -> str:
    if kind == "kubernetes":
        return "ask for one in the pod: `resources: {limits: {nvidia.com/gpu: 1}}`"
    if kind == "podman":
        return "podman run --device nvidia.com/gpu=all … (once: `sudo nvidia-ctk cdi generate`)"
    if kind in {"lxc", "systemd-nspawn"}:
        return "hand /dev/nvidiactl, /dev/nvidia0 and /dev/nvidia-uvm to the container"
    return (
        "docker run --gpus all … (once: `sudo nvidia-ctk runtime configure --runtime=docker &&"
        " sudo systemctl restart docker`)"
    )


@check(
    level="static",
    needs=("host",),
    symptom="libcuda.so.1: cannot open shared object file; nvidia-smi misses libnvidia-ml.so",
    why="the runtime brings in only the driver's parts that are asked for",
    source="NVIDIA/nvidia-docker#1163, NVIDIA/nvidia-docker#671; NVIDIA Container Toolkit, driver"
    " capabilities",
    cause="NVIDIA_DRIVER_CAPABILITIES lacks `compute` (libcuda) or `utility` (NVML), or the image's"
    " loader cache was not written anew after the libraries came.",
    fix="Set NVIDIA_DRIVER_CAPABILITIES=compute,utility; run ldconfig in the container.",
    after=("container-without-gpu", "singularity-no-nv"),
)
def container_capabilities_missing(subject: Subject) -> Iterator[Finding]:
    """The container has both libraries of the driver."""
    host, files = files_of(subject)
    value = host.variables.get("NVIDIA_DRIVER_CAPABILITIES")
    if files.container is None and value is None:
        raise NotApplicable("this is no container")
    if files.container and files.container.kind == "apptainer":
        return
    is_partly_here = value is not None and bool(host.cuda.library or host.nvml.library)
    if not (_has_nodes(files) or is_partly_here):
        return
    if host.cuda.library is None and host.cuda.ended == "done" and not host.usable_gpus:
        yield _lacking(host, files, "libcuda.so.1", "compute", "error")
    elif host.cuda.library and _lacks_nvml(host) and not files.is_tegra:
        yield _lacking(host, files, "libnvidia-ml.so.1", "utility", "warning")


def _lacks_nvml(host: HostFacts) -> bool:
    return host.nvml.library is None and host.nvml.ended == "done"


def _lacking(
    host: HostFacts, files: MachineFiles, library: str, capability: str, severity: Severity
) -> Finding:
    value = host.variables.get("NVIDIA_DRIVER_CAPABILITIES")
    asked = {item.strip() for item in (value or "").split(",")}
    lacks = value is not None and not asked & {capability, "all"}
    copies = [item for item in files.copies_of(library) if item.bytes]
    setting = f"NVIDIA_DRIVER_CAPABILITIES=`{value}`" if value is not None else "no such variable"
    why = f": the capability `{capability}` was not asked for" if lacks else ""
    remedy = "start the container with `-e NVIDIA_DRIVER_CAPABILITIES=compute,utility`"
    if copies and not lacks:
        why = f", although `{copies[0].path}` is there: the loader does not know of it"
        remedy = f"ldconfig; or export LD_LIBRARY_PATH={copies[0].path.rpartition('/')[0]}"
    return Finding(
        message=f"the container has a part of the driver, and no {library}{why}",
        seen=f"{'device nodes, ' if _has_nodes(files) else ''}{setting},"
        f" {library} cannot be loaded",
        expected=f"{library} where the loader finds it",
        remedy=remedy,
        severity=severity,
    )


@check(
    level="static",
    needs=("host",),
    symptom="nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.8",
    why="the image's CUDA programs need a newer driver, and the runtime refuses to start it",
    source="NVIDIA/nvidia-container-toolkit#152, theroyallab/tabbyAPI#324",
    cause="The image was built for a newer CUDA than the host's driver runs, and says so in"
    " NVIDIA_REQUIRE_CUDA.",
    fix="Update the host's driver or take an image of an older CUDA. Where nothing of the image's"
    " own CUDA is used, NVIDIA_DISABLE_REQUIRE=true lets it start.",
)
def container_requires_newer_cuda(subject: Subject) -> Iterator[Finding]:
    """The driver is what the image asks for."""
    host, _ = files_of(subject)
    wanted = requirements(host.variables)
    if not wanted:
        raise NotApplicable("no image asks for a driver")
    present(subject)
    for name, expression in wanted.items():
        failed = unmet(expression, _offers(host))
        if failed:
            cuda = _newest(host) or "unknown"
            yield Finding(
                message=f"the image asks for {' and '.join(failed)}; the driver offers CUDA {cuda}",
                seen=f"driver {host.kernel_driver or host.nvml.driver or 'unknown'}, CUDA {cuda}",
                expected=f"{name}: {expression.split()[0]}",
                remedy="update the host's driver, or take an image of an older CUDA; if only this"
                " environment's CUDA is used: NVIDIA_DISABLE_REQUIRE=true",
            )


def _offers(host: HostFacts) -> tuple[Offer, ...]:
    driver = host.kernel_driver or host.nvml.driver
    cuda = _newest(host)
    gpus = host.usable_gpus or host.nvml.gpus
    offers = tuple(
        Offer(cuda=cuda, driver=driver, arch=str(gpu.capability), name=gpu.name) for gpu in gpus
    )
    return offers or (Offer(cuda=cuda, driver=driver),)


def _newest(host: HostFacts) -> str | None:
    """The newest CUDA that either library answers; a forward-compatible libcuda counts."""
    number = max(host.cuda.version or 0, host.nvml.version or 0)
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


@check(
    level="static",
    needs=("host",),
    symptom="nvidia-container-cli: mount error: libnvidia-ml.so.1: file exists",
    why="the image's libcuda stands in the way of the host's, and fits one driver only",
    source="NVIDIA/nvidia-container-toolkit#289, NVIDIA/nvidia-container-toolkit#1099",
    cause="Packages of the driver were installed in the image (often as a dependency), or the image"
    " was saved from a running GPU container and kept empty files.",
    fix="Remove the driver's packages and files from the image; the runtime brings the host's.",
    after=("container-without-gpu",),
)
def driver_baked_into_image(subject: Subject) -> Iterator[Finding]:
    """The image holds no driver of its own."""
    host, files = files_of(subject)
    if not _container(files).is_image:
        raise NotApplicable("this container is a whole system")
    baked = _baked(files, host.nvml.driver)
    if not baked:
        return
    item, others = baked[0], _other_versions(baked[0], files, host.nvml.driver)
    fits = item.version is not None and item.version == files.kernel.driver
    version = f" of driver {item.version}" if item.version else ""
    owner = f", from package {item.package}" if item.package else ""
    works = bool(host.usable_gpus) or not _is_gpu_expected(subject, host, files)
    yield Finding(
        message=f"the image holds `{item.real}`{version}{owner}: a driver belongs to the host"
        if item.bytes
        else f"the image holds an empty `{item.real}`, left over from a running container",
        seen=f"{item.real}: no mount of the host's; {others}",
        expected="the driver's libraries come from the host",
        remedy=f"in the Dockerfile: RUN apt-get purge -y {item.package}"
        if item.package
        else f"in the Dockerfile: RUN rm -f {item.real}, where it was installed",
        severity="warning" if works or fits else "error",
    )


def _baked(files: MachineFiles, driver: str | None) -> list[DriverCopy]:
    """Copies that came with the image: of a package, of another version, or empty."""
    own = [
        item
        for item in files.copies
        if item.place in _IN_IMAGE and not item.mounted and not item.is_compat
    ]
    kernel = files.kernel.driver or driver
    versions = {item.version for item in files.copies if item.version and not item.is_compat}
    return [
        item
        for item in own
        if item.package
        or (item.version is not None and (item.version != kernel if kernel else len(versions) > 1))
        or (item.bytes == 0 and item.place != "LD_LIBRARY_PATH")
    ]


def _other_versions(item: DriverCopy, files: MachineFiles, driver: str | None) -> str:
    kernel = files.kernel.driver or driver
    if kernel is not None:
        return f"the kernel module is {kernel}"
    others = {copy.version for copy in files.copies if copy.version} - {item.version}
    return f"beside version {', '.join(sorted(map(str, others)))}" if others else "no driver here"


@check(
    level="static",
    needs=("host",),
    severity="warning",
    symptom="NCCL WARN Error while creating shared memory segment; a DataLoader worker dies",
    why="processes of one job exchange data through /dev/shm",
    source="NCCL user guide, troubleshooting, shared memory; PyTorch README, Docker image",
    cause="Docker and Kubernetes make /dev/shm of 64 MB where nothing else is asked for.",
    fix="Start the container with a larger one, or with the host's.",
)
def container_shm_too_small(subject: Subject) -> Iterator[Finding]:
    """A container for several GPUs has room in /dev/shm."""
    host, files = files_of(subject)
    container = _container(files)
    if len(host.usable_gpus) < 2 or files.shm_bytes is None:
        return
    if files.shm_bytes <= _SMALL_SHM:
        yield Finding(
            message=f"shared memory (/dev/shm) has {files.shm_bytes >> 20} MiB, too little for"
            f" {len(host.usable_gpus)} GPUs in one job",
            seen=f"{files.shm_bytes >> 20} MiB in this {container.kind} container",
            expected="1 GiB or more",
            remedy="mount an emptyDir with `medium: Memory` on /dev/shm"
            if container.kind == "kubernetes"
            else "docker run --shm-size=8g … (or `--ipc=host`)",
        )
