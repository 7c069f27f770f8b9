"""The GPU code of shared objects, read off the headers of their fat binaries."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fakes.fatbins import PADDING, container, elf, entry, fatbin

from envforge.adapters.linking.fatbin import read_code, read_device_code
from envforge.verify.facts import DeviceCode

REAL = Path(__file__).parents[3] / "data" / "fatbins" / "nvcc-13.0.fatbin"
SITE = "lib/python3.10/site-packages"


def code_of(path: Path, data: bytes) -> DeviceCode:
    path.write_bytes(data)
    found = read_device_code(path, path.name)
    assert found is not None
    return found


def test_what_nvcc_writes(tmp_path: Path) -> None:
    """One kernel, compressed, by nvcc 13.0 for these very architectures."""
    found = code_of(tmp_path / "one.so", elf(REAL.read_bytes()))

    assert found.architectures == ("sm_75", "sm_90a", "sm_100f", "sm_120", "compute_120")
    assert found.ptx == (9, 0)
    assert not found.problem


def test_several_fat_binaries_with_padding(tmp_path: Path) -> None:
    codes = (fatbin("sm_80", "sm_90"), PADDING * 3, fatbin("sm_80", "compute_90", ptx=(8, 7)))
    found = code_of(tmp_path / "a.so", elf(b"".join(codes)))

    assert found == DeviceCode(
        path="a.so", architectures=("sm_80", "sm_90", "compute_90"), ptx=(8, 7)
    )


def test_headers_of_other_sizes_and_other_kinds(tmp_path: Path) -> None:
    """Newer architectures have longer headers; what is linked at start-up runs on nothing yet."""
    entries = (entry("sm_100", header=112), entry("lto_90"), entry("capmerc_120", header=96))
    found = code_of(tmp_path / "a.so", elf(container(*entries)))

    assert found.architectures == ("sm_100", "sm_120")
    assert found.ptx is None


def test_relocatable_code_counts_too(tmp_path: Path) -> None:
    found = code_of(tmp_path / "a.so", elf(fatbin("sm_86"), "__nv_relfatbin"))
    assert found.architectures == ("sm_86",)


def test_code_of_few_kernels_is_marked(tmp_path: Path) -> None:
    """In the proportions of torch 2.14.1 for CUDA 13.0, an eighth."""
    plain = ("sm_75", "sm_90", "sm_100")
    codes = [fatbin(*plain)] * 52 + [fatbin(*plain, "sm_100a", "sm_103f")] * 7
    codes += [fatbin(*plain, "sm_89")]
    found = code_of(tmp_path / "a.so", elf(b"".join(codes)))

    assert set(found.architectures) == {*plain, "sm_89", "sm_100a", "sm_103f"}
    assert found.rare == {"sm_89", "sm_100a", "sm_103f"}


def test_an_extension_for_one_architecture_alone_has_no_rare_code(tmp_path: Path) -> None:
    found = code_of(tmp_path / "a.so", elf(fatbin("sm_90a") * 3 + fatbin("sm_80")))
    assert found.rare == frozenset()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (fatbin("sm_80") + container(entry("sm_90"))[:-8], "larger than the fat binary"),
        (fatbin("sm_80") + container(entry("sm_90"))[:40], "larger than the section"),
        (container(entry("sm_80"), entry("sm_90", payload=64)[:8] + b"\xff" * 80), "cannot be"),
        (container(entry("sm_80"), entry("sm_7")), "architecture 7, which cannot be"),
        (container(entry("sm_80"), entry("sm_90", header=64).replace(b"\x40", b"\0", 1)), "larger"),
    ],
)
def test_sizes_that_cannot_be_end_the_walk(data: bytes, problem: str, tmp_path: Path) -> None:
    """With what was found till then, and a mark."""
    found = code_of(tmp_path / "a.so", elf(data))

    assert found.architectures[0] == "sm_80"
    assert problem in found.problem


def test_a_truncated_file_is_marked(tmp_path: Path) -> None:
    """The section table stands at the end, so what lost its tail has no sections in sight."""
    whole = elf(fatbin("sm_80"))
    (tmp_path / "a.so").write_bytes(whole[: len(whole) // 2])
    assert read_device_code(tmp_path / "a.so", "a.so") is None

    longer = bytearray(whole)
    at = len(whole) - 128 + 32  # the size of the first section
    longer[at : at + 8] = (1 << 40).to_bytes(8, "little")
    assert code_of(tmp_path / "b.so", bytes(longer)).problem


@pytest.mark.parametrize("before", [b"", b"\x7fELF", elf(b"")[:40] + bytes(88)])
def test_code_in_a_file_without_sections(before: bytes, tmp_path: Path) -> None:
    """As `strip` can leave them, and as `nvcc -fatbin` writes them."""
    found = code_of(tmp_path / "a.so", before + fatbin("sm_80", "compute_80"))
    assert found.architectures == ("sm_80", "compute_80")


def test_a_hostile_file_ends_soon(tmp_path: Path) -> None:
    """A million empty entries, a gap without end, a container that says it is empty."""
    begin = time.perf_counter()
    many = code_of(tmp_path / "a.so", elf(container(*[entry("sm_80", payload=0)] * 300_000)))
    empty = code_of(tmp_path / "b.so", elf(container() * 300_000))
    path = tmp_path / "c.so"
    data = elf(fatbin("sm_80") + b"\1" * 8)
    with path.open("wb") as file:  # sparse: the section goes on for gigabytes
        file.write(data[: 64 + len(fatbin("sm_80"))])
        file.seek(4 << 30)
        file.write(b"\0")
    gap = read_device_code(path, "c.so")

    assert many.problem == "too many entries"
    assert many.architectures == ("sm_80",)
    assert empty.problem == "too many entries"
    assert gap is None
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"\x7fELF\x01\x01" + bytes(100),
        b"not an ELF file at all, however long it is" * 10,
        elf(fatbin("sm_80"), ".text"),
        elf(fatbin("sm_80"), kind=8),
        elf(b"")[:64].ljust(200, b"\xff"),
    ],
)
def test_what_holds_no_gpu_code(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.so").write_bytes(data)
    assert read_device_code(tmp_path / "a.so", "a.so") is None


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe of that name does not hang, a loop of links is a problem told."""
    os.mkfifo(tmp_path / "pipe.so")
    (tmp_path / "loop.so").symlink_to("loop.so")
    (tmp_path / "folder.so").mkdir()
    assert read_device_code(tmp_path / "pipe.so", "pipe.so") is None
    assert read_device_code(tmp_path / "folder.so", "folder.so") is None
    for name in ("loop.so", "gone.so"):
        found = read_device_code(tmp_path / name, name)
        assert found is not None
        assert found.problem
        assert not found.architectures


def test_half_a_gigabyte_takes_no_time(tmp_path: Path) -> None:
    """Payloads are skipped: ten thousand kernels of 50 kB, in a sparse file."""
    payload, count = 50_000, 10_000
    one = entry("sm_90", payload=payload)[:64]
    each = 64 + payload
    path = tmp_path / "libtorch_cuda.so"
    size = 16 + count * each
    shell = elf(b"")
    with path.open("wb") as file:
        for number in range(count):
            file.seek(64 + 16 + number * each)
            file.write(one)
        file.seek(64)
        file.write(container()[:8] + (count * each).to_bytes(8, "little"))
        file.seek(64 + size)
        tail = bytearray(shell[64:])
        file.write(tail)
        names = len(b"\0.nv_fatbin\0.shstrtab\0")
        table = 64 + size + names
        file.seek(0)
        file.write(shell[:40] + table.to_bytes(8, "little") + shell[48:64])
        file.seek(table + 64 + 32)
        file.write(size.to_bytes(8, "little"))
        file.seek(table + 128 + 24)
        file.write((64 + size).to_bytes(8, "little"))
    begin = time.perf_counter()
    found = read_device_code(path, path.name)

    assert found is not None
    assert found.architectures == ("sm_90",)
    assert not found.problem
    assert path.stat().st_size > 500_000_000
    assert time.perf_counter() - begin < 0.5


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Torch, and extensions in all the places they lie in."""
    for path, flag in {
        f"{SITE}/torch/lib/libtorch_cuda.so": "sm_80",
        f"{SITE}/torch/lib/libtorch_cuda_linalg.so": "sm_70",
        f"{SITE}/torch/_C.cpython-310-x86_64-linux-gnu.so": "sm_35",
        f"{SITE}/flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so": "sm_90",
        f"{SITE}/xformers/_C.so": "sm_86",
        f"{SITE}/old_op-1.0-py3.10-linux-x86_64.egg/old_op_cuda.so": "sm_75",
        f"{SITE}/vllm/deep/down/_moe_C.abi3.so": "sm_89",
        f"{SITE}/nvidia/cublas/lib/libcublas.so.12": "sm_50",
        f"{SITE}/tensorrt_libs/libnvinfer_builder_resource_sm75.so.10": "sm_75",
        f"{SITE}/torchvision.libs/libnvjpeg.1234.so.13": "sm_100",
    }.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(elf(fatbin(flag)))
    (tmp_path / SITE / "numpy").mkdir()
    (tmp_path / SITE / "numpy" / "_core.so").write_bytes(b"\x7fELF\x02\x01 no more")
    return tmp_path


LIBRARIES = {
    "libtorch_cuda_linalg.so": f"{SITE}/torch/lib",
    "libtorch_cuda.so": f"{SITE}/torch/lib",
    "libtorch_cpu.so": f"{SITE}/torch/lib",
}


def names_of(prefix: Path, *, every_file: bool) -> list[str]:
    found = read_code(prefix, prefix / SITE, LIBRARIES, every_file=every_file)
    return [item.path.rpartition("/")[2] for item in found]


def test_torch_comes_first_and_extensions_follow(prefix: Path) -> None:
    assert names_of(prefix, every_file=False) == [
        "libtorch_cuda.so",
        "libtorch_cuda_linalg.so",
        "flash_attn_2_cuda.cpython-310-x86_64-linux-gnu.so",
        "old_op_cuda.so",
        "_C.so",
    ]


def test_of_two_libraries_the_one_beside_torch_counts(prefix: Path) -> None:
    (prefix / "lib" / "libtorch_cuda.so").write_bytes(elf(fatbin("sm_35")))
    libraries = {"libtorch_cuda.so": "lib"}
    [first, *_] = read_code(prefix, prefix / SITE, libraries, every_file=False)
    assert first.architectures == ("sm_80",)

    (prefix / SITE / "torch/lib/libtorch_cuda.so").unlink()
    [first, *_] = read_code(prefix, prefix / SITE, libraries, every_file=False)
    assert first.architectures == ("sm_35",)


def test_deeper_folders_are_looked_into_when_there_is_time(prefix: Path) -> None:
    """What NVIDIA builds for its own GPUs is no extension, wherever it lies."""
    deep = set(names_of(prefix, every_file=True)) - set(names_of(prefix, every_file=False))
    assert deep == {"_moe_C.abi3.so"}


def test_without_site_packages(tmp_path: Path) -> None:
    assert list(read_code(tmp_path, None, {}, every_file=True)) == []
    assert list(read_code(tmp_path, tmp_path / "gone", {}, every_file=True)) == []
