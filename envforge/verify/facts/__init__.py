"""What was found out, apart from any judgement: the machine, the prefix, the probe's run.

Adapters fill these in, tests build them by hand, checks only read them. A fact that is None or
empty was not seen.

| module | facts about | gathered by, in `adapters/` |
|---|---|---|
| `driver.py` | libcuda, NVML, nvidia-smi | `machine/machine_probe.py`, `nvidia_smi.py` |
| `machine_files.py` | kernel, buses, device nodes, containers | `machine/machine_files.py` |
| `shell.py` | caches, compilers, PATH, variables | `machine/shell_facts.py` |
| `host.py` | the machine, all of the above together | `machine/host_facts.py` |
| `packages.py` | metadata, ownership, leftovers | `prefix/package_facts.py` |
| `companions.py` | what packages beside torch were built for | `prefix/companion_files.py` |
| `linking.py` | what the loader would load | `linking/collect.py` |
| `code.py` | GPU code in shared objects | `linking/fatbin.py` |
| `prefix.py` | a prefix, the three above included | `prefix/prefix_facts.py` |
| `probe.py` | what the interpreter did | `prefix/python_probe.py` |
| `subject.py` | all of it | `forge/judging/verifying.py` |
"""

from envforge.verify.facts.code import DeviceCode
from envforge.verify.facts.companions import CompanionBuild, CompanionFacts
from envforge.verify.facts.driver import (
    FabricFiles,
    GpuProcess,
    GpuState,
    GpuUsage,
    LibraryAnswer,
    MigSlice,
    MpsPipe,
    SmiWitness,
)
from envforge.verify.facts.host import HostFacts
from envforge.verify.facts.linking import Linking
from envforge.verify.facts.machine_files import (
    Container,
    DeviceNode,
    DriverCopy,
    Kernel,
    MachineFiles,
    PciDevice,
)
from envforge.verify.facts.packages import (
    CacheDamage,
    Distribution,
    Layout,
    PackageFacts,
    Script,
    SharedPath,
    UnlikeRecorded,
)
from envforge.verify.facts.prefix import (
    CudnnWitness,
    DamagedFile,
    PrefixFacts,
    PublishedFacts,
    TorchFiles,
)
from envforge.verify.facts.probe import (
    AllReduce,
    CompileRun,
    CompileStep,
    Copy,
    DeviceMemory,
    DeviceRun,
    Ending,
    ImportRun,
    NumpyRun,
    ProbeFacts,
    Rank,
    TorchRun,
    Trial,
)
from envforge.verify.facts.shell import ShellFacts
from envforge.verify.facts.subject import Kind, Layer, Subject

__all__ = [
    "AllReduce",
    "CacheDamage",
    "CompanionBuild",
    "CompanionFacts",
    "CompileRun",
    "CompileStep",
    "Container",
    "Copy",
    "CudnnWitness",
    "DamagedFile",
    "DeviceCode",
    "DeviceMemory",
    "DeviceNode",
    "DeviceRun",
    "Distribution",
    "DriverCopy",
    "Ending",
    "FabricFiles",
    "GpuProcess",
    "GpuState",
    "GpuUsage",
    "HostFacts",
    "ImportRun",
    "Kernel",
    "Kind",
    "Layer",
    "Layout",
    "LibraryAnswer",
    "Linking",
    "MachineFiles",
    "MigSlice",
    "MpsPipe",
    "NumpyRun",
    "PackageFacts",
    "PciDevice",
    "PrefixFacts",
    "ProbeFacts",
    "PublishedFacts",
    "Rank",
    "Script",
    "SharedPath",
    "ShellFacts",
    "SmiWitness",
    "Subject",
    "TorchFiles",
    "TorchRun",
    "Trial",
    "UnlikeRecorded",
]
