"""GPU code that is none: fat binaries as nvcc lays them out, with payloads of zeros.

    library.write_bytes(elf(fatbin("sm_80", "sm_90", "compute_90")))
    add_fatbins(situation.prefix / "lib/libtorch_cuda.so", fatbin("sm_80"))

A flag is spelled as torch spells it; `sm_90a` and `sm_100f` set the bits that CUDA's `fatbinary`
sets for them (`tests/data/fatbins` holds a real one to compare with).
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

PADDING = b"\0" * 8
_BITS = {"": 0, "a": 0x100000, "f": 0x200000}


def entry(
    flag: str, *, ptx: tuple[int, int] = (8, 5), payload: int = 64, header: int = 64
) -> bytes:
    """One entry: `sm_90`, `compute_90`, `lto_90`; `ptx` is the version a PTX entry names."""
    kind, _, number = flag.partition("_")
    found = re.fullmatch(r"(\d+)([af]?)", number)
    assert found is not None
    word = {"compute": 1, "sm": 2, "lto": 8, "capmerc": 16}[kind]
    major, minor = ptx if kind == "compute" else (1, 8)
    flags = 0x8011 | _BITS[found[2]]  # compressed, 64 bit, Linux
    fields = (word, 0x101, header, payload, payload, 0, minor, major, int(found[1]), 0, 0, flags)
    return struct.pack("<HHIQIIHHIIIQ", *fields).ljust(header, b"\0") + b"\xaa" * payload


def container(*entries: bytes) -> bytes:
    """A fat binary of these entries."""
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def fatbin(*flags: str, ptx: tuple[int, int] = (8, 5)) -> bytes:
    """A fat binary with code for these."""
    return container(*(entry(flag, ptx=ptx) for flag in flags))


def elf(code: bytes, section: str = ".nv_fatbin", *, kind: int = 1) -> bytes:
    """A 64-bit ELF file whose only content is one section."""
    names = b"\0" + section.encode() + b"\0.shstrtab\0"
    at_code, at_names = 64, 64 + len(code)
    table = at_names + len(names)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(3, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2),
    )
    one = struct.pack("<IIQQQQIIQQ", 1, kind, 0, 0, at_code, len(code), 0, 0, 8, 0)
    last = len(section) + 2
    two = struct.pack("<IIQQQQIIQQ", last, 3, 0, 0, at_names, len(names), 0, 0, 1, 0)
    return head + code + names + bytes(64) + one + two


def add_fatbins(library: Path, *codes: bytes) -> Path:
    """Give a real shared object GPU code; what it does on the CPU stays as it is."""
    tool = shutil.which("objcopy")
    if tool is None:
        pytest.skip("sections are added by objcopy")
    with tempfile.TemporaryDirectory() as scratch:
        section = Path(scratch) / "code"
        section.write_bytes(PADDING.join(codes))
        made = Path(scratch) / library.name
        command = [tool, "--add-section", f".nv_fatbin={section}"]
        command += ["--set-section-flags", ".nv_fatbin=alloc,readonly,data"]
        subprocess.run([*command, str(library), str(made)], check=True)
        library.unlink()
        shutil.copy(made, library)
    return library
