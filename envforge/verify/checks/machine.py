"""What checks of the machine stand on."""

from __future__ import annotations

from envforge.model.cuda import CudaVersion
from envforge.verify.check import CannotLook, NotApplicable
from envforge.verify.facts import HostFacts, MachineFiles, PrefixFacts, Subject
from envforge.verify.torch_version import cuda_of_build

NO_DRIVER = "no NVIDIA driver on this machine"
NO_GPU = "no usable GPU on this machine"


def cuda_of(subject: Subject) -> CudaVersion:
    """The CUDA to be run: the lock's, else that of torch's files or of the import."""
    if subject.target is not None:
        if subject.target.cuda is None:
            raise NotApplicable("a CPU build needs no driver")
        return subject.target.cuda
    torch = subject.prefix.torch if subject.prefix else None
    named = torch.cuda if torch else None
    if named is None and subject.probe and subject.probe.torch:
        named = subject.probe.torch.cuda
    if named is None and torch is None and subject.prefix is not None:
        named = _cuda_by_record(subject.prefix)
    if named is None:
        raise NotApplicable("no CUDA build is here")
    return CudaVersion.parse(named)


def _cuda_by_record(prefix: PrefixFacts) -> str | None:
    """Of a torch whose files are not there; None: its record names no CUDA."""
    packages = (*prefix.wheels, *prefix.conda)
    torch = next((item for item in packages if item.name in {"torch", "pytorch"}), None)
    if torch is None:
        return None
    named = torch.build if torch.manager == "conda" else torch.version.partition("+")[2]
    return cuda_of_build(named)


def wants_gpu(subject: Subject) -> None:
    """Raises NotApplicable for a build without CUDA; a machine that is judged alone wants it."""
    if subject.kind != "host":
        cuda_of(subject)


def host_of(subject: Subject) -> HostFacts:
    assert subject.host is not None  # noqa: S101 - `needs` says so
    return subject.host


def present(subject: Subject) -> HostFacts:
    """A machine that is here and has a driver."""
    host = host_of(subject)
    if host.machine.origin == "described":
        raise NotApplicable("the machine is described, not present")
    if host.machine.driver is None:
        raise NotApplicable(NO_DRIVER)
    return host


def files_of(subject: Subject) -> tuple[HostFacts, MachineFiles]:
    """A machine that is here, and its files, for something that wants a GPU."""
    wants_gpu(subject)
    host = host_of(subject)
    if host.machine.origin == "described":
        raise NotApplicable("the machine is described, not present")
    if host.files is None:
        raise CannotLook("the machine's files were not looked at")
    return host, host.files


def driver_name(host: HostFacts) -> str:
    driver = host.machine.driver
    return driver.version or "of unknown version" if driver else "none"
