"""The filter that has the kernel ask us before a program opens a file or calls somebody.

seccomp's user notification (Linux 5.5; `seccomp_unotify(2)`): a filtered call waits until the
listener has answered. It sees compiled code as well as Python, every thread, and all children,
needs no privileges, and cannot be taken off again. Numbers are those of the kernel's
`include/uapi`; the program itself is classic BPF.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_SET_MODE_FILTER: Final = 1
_NEW_LISTENER: Final = 8
_ALLOW: Final = 0x7FFF0000
_ASK: Final = 0x7FC00000
_REFUSE: Final = 0x00050000
_ARCHITECTURE, _NUMBER, _ARGUMENTS = 4, 0, 16  # offsets in struct seccomp_data
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_INSTRUCTION: Final = struct.Struct("=HBBI")
Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One processor family's numbers."""

    audit: int
    seccomp: int
    names: dict[int, str]


_EVERYWHERE: Final = {425: "io_uring_setup", 437: "openat2"}
MACHINES: Final = {
    "x86_64": Machine(
        audit=0xC000003E,
        seccomp=317,
        names={
            2: "open",
            42: "connect",
            44: "sendto",
            46: "sendmsg",
            231: "exit_group",
            257: "openat",
            307: "sendmmsg",
            **_EVERYWHERE,
        },
    ),
    "aarch64": Machine(
        audit=0xC00000B7,
        seccomp=277,
        names={
            56: "openat",
            94: "exit_group",
            203: "connect",
            206: "sendto",
            211: "sendmsg",
            269: "sendmmsg",
            **_EVERYWHERE,
        },
    ),
}
"""By `platform.machine()`."""


def program(machine: Machine) -> list[Instruction]:
    """The filter: ask for what is named, refuse ways around, let all else pass.

    Calls of another architecture (32-bit code) and io_uring could pass unseen, so they fail as
    they do on a kernel without them.
    """
    ask, refuse = (_RETURN, 0, 0, _ASK), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)
    rules: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, machine.audit),
        refuse,
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number, name in sorted(machine.names.items()):
        if name == "io_uring_setup":
            rules += [(_IF_EQUAL, 0, 1, number), refuse]
        elif name == "sendto":  # with an address only; half of it may be 0
            low = _ARGUMENTS + 4 * 8
            rules += [
                (_IF_EQUAL, 0, 5, number),
                (_LOAD, 0, 0, low),
                (_IF_EQUAL, 0, 2, 0),
                (_LOAD, 0, 0, low + 4),
                (_IF_EQUAL, 1, 0, 0),
                ask,
                (_LOAD, 0, 0, _NUMBER),
            ]
        else:
            rules += [(_IF_EQUAL, 0, 1, number), ask]
    return [*rules, (_RETURN, 0, 0, _ALLOW)]


def this_machine() -> Machine:
    """The numbers for the processor we run on.

    Raises:
        OSError: not Linux, or a processor we have no numbers for.
    """
    found = MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if found is None:
        raise OSError(errno.ENOSYS, f"no filter for {sys.platform} on {platform.machine()}")
    return found


def install(machine: Machine) -> int:
    """Put the filter on the calling thread and what it becomes; a descriptor to answer by.

    Raises:
        OSError: the kernel is too old, or a container forbids it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    code = b"".join(_INSTRUCTION.pack(*rule) for rule in program(machine))
    kept = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(kept))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _failure()
    descriptor: int = libc.syscall(machine.seccomp, _SET_MODE_FILTER, _NEW_LISTENER, head)
    if descriptor < 0:
        raise _failure()
    return descriptor


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
