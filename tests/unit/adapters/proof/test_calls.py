"""What calls are about, read from this process's own memory."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from pathlib import Path

import pytest

from envforge.adapters.proof import calls
from envforge.adapters.proof.calls import Call

HERE = 0xFFFFFF9C


def call(name: str, *arguments: int) -> Call:
    return Call(name=name, thread=os.getpid(), arguments=(*arguments, *[0] * (6 - len(arguments))))


def held(data: bytes) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """A buffer to be kept, and its address."""
    buffer = ctypes.create_string_buffer(data, len(data) + 1)
    return buffer, ctypes.addressof(buffer)


def inet(host: str, port: int) -> bytes:
    family = struct.pack("=H", socket.AF_INET)
    return family + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def test_an_absolute_path() -> None:
    kept, address = held(b"/etc/hosts\0rubbish")

    assert calls.opened(call("open", address)) == "/etc/hosts"
    assert calls.opened(call("openat", HERE, address)) == "/etc/hosts"
    assert kept


def test_a_path_relative_to_where_the_program_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept, address = held("größe".encode())

    for made in (
        call("open", address),
        call("openat", HERE, address),
        call("openat2", HERE, address),
    ):
        assert calls.opened(made) == str(tmp_path / "größe")
    assert kept


def test_a_path_relative_to_an_open_folder(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    kept, address = held(b"below/name")

    assert calls.opened(call("openat", folder, address)) == str(tmp_path / "below/name")
    os.close(folder)
    assert kept


def test_a_pointer_to_nothing_is_the_kernels_to_refuse() -> None:
    with pytest.raises(OSError, match="Input/output"):
        calls.opened(call("open", 16))


def test_addresses_of_the_internet() -> None:
    four, at_four = held(inet("192.0.2.1", 443))
    packed = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", 80, 0)
    packed += socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(4)
    six, at_six = held(packed)

    assert calls.called(call("connect", 3, at_four, 16)) == "192.0.2.1:443"
    assert calls.called(call("connect", 3, at_six, 28)) == "[2001:db8::1]:80"
    assert calls.called(call("sendto", 3, 0, 0, 0, at_four, 16)) == "192.0.2.1:443"
    assert calls.opened(call("connect", 3, at_four, 16)) is None
    assert four
    assert six


def test_a_message_with_an_address_and_one_without() -> None:
    four, at_four = held(inet("192.0.2.1", 53))
    message, at_message = held(struct.pack("=QI", at_four, 16) + bytes(40))
    bare, at_bare = held(bytes(56))

    for name in ("sendmsg", "sendmmsg"):
        assert calls.called(call(name, 3, at_message)) == "192.0.2.1:53"
        assert calls.called(call(name, 3, at_bare)) is None
    assert four
    assert message
    assert bare


def test_what_stays_on_the_machine_is_no_call() -> None:
    unix, at_unix = held(struct.pack("=H", socket.AF_UNIX) + b"/run/socket\0")
    nothing, at_nothing = held(b"")

    assert calls.called(call("connect", 3, at_unix, 14)) is None
    assert calls.called(call("connect", 3, at_nothing, 0)) is None
    assert calls.called(call("exit_group", 0)) is None
    assert unix
    assert nothing
