"""The filter, run by an interpreter of classic BPF: what it asks about, refuses and lets pass."""

from __future__ import annotations

import struct

import pytest

from envforge.adapters.proof import syscalls
from envforge.adapters.proof.syscalls import MACHINES, Machine

ASK, PASS, REFUSE = 0x7FC00000, 0x7FFF0000, 0x00050000 | 38
LOAD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06


def verdict(
    machine: Machine, number: int, *, arguments: tuple[int, ...] = (), audit: int = 0
) -> int:
    """What the kernel would do (`linux/filter.h`: jumps are relative to the next instruction)."""
    given = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=iIQ6Q", number, audit or machine.audit, 0, *given)
    program, place, value = syscalls.program(machine), 0, 0
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        if code == LOAD:
            value = struct.unpack_from("=I", data, operand)[0]
        elif code == IF_EQUAL:
            place += if_true if value == operand else if_false
        else:
            assert code == RETURN
            return operand


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def test_everything_that_is_named_is_asked_about(machine: Machine) -> None:
    asked = {
        name
        for number, name in machine.names.items()
        if verdict(machine, number, arguments=(3, 1, 1, 0, 1)) == ASK
    }

    assert asked == {*machine.names.values()} - {"io_uring_setup"}


def test_what_is_not_named_passes(machine: Machine) -> None:
    passed = [n for n in range(450) if n not in machine.names and verdict(machine, n) == PASS]

    assert len(passed) == 450 - sum(number < 450 for number in machine.names)


def test_sending_to_whom_one_is_connected_passes(machine: Machine) -> None:
    """An address is a pointer of 64 bits, of which either half may be 0."""
    [sendto] = [number for number, name in machine.names.items() if name == "sendto"]

    for address, expected in ((0, PASS), (0x1000, ASK), (0x7F << 32, ASK), (2**63, ASK)):
        assert verdict(machine, sendto, arguments=(3, 1, 1, 0, address)) == expected


def test_ways_around_are_refused(machine: Machine) -> None:
    """A ring of calls that the kernel takes without calls, and code of 32 bits."""
    [ring] = [n for n, name in machine.names.items() if name == "io_uring_setup"]

    assert verdict(machine, ring) == REFUSE
    assert verdict(machine, 1, audit=0x40000003) == REFUSE


def test_other_systems_have_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls.platform, "machine", lambda: "riscv64")

    with pytest.raises(OSError, match="no filter for linux on riscv64"):
        syscalls.this_machine()
