"""Driver and GPUs against the build; GPU code of torch and of extensions."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.fatbins import add_fatbins, elf, fatbin
from fakes.situation import DRIVER, NAME, Situation, covers
from fakes.stub_driver import H200, RTX_5090, V100

from envforge.model.finding import Report

A100 = ("NVIDIA A100-SXM4-80GB", "8.0", 85_899_345_920)
MIG = ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "9.0", 10_737_418_240)
THOR = ("NVIDIA Thor", "11.0", 137_438_953_472)
FUTURE = ("NVIDIA X100", "14.0", 300_000_000_000)
K80 = ("Tesla K80", "3.7", 11_996_954_624)
TORCH_CUDA = "lib/libtorch_cuda.so"
ALL = ("sm_50", "sm_70", "sm_80", "sm_90")


def kernel_module(situation: Situation, version: str) -> None:
    """The machine's files say the same of the driver as its libraries do."""
    path = situation.root / "proc/driver/nvidia/version"
    path.write_text(path.read_text().replace(DRIVER, version))
    folder = situation.root / "usr/lib/x86_64-linux-gnu"
    for name in ("libcuda.so", "libnvidia-ml.so"):
        (folder / f"{name}.{DRIVER}").rename(folder / f"{name}.{version}")
        (folder / f"{name}.1").unlink()
        (folder / f"{name}.1").symlink_to(f"{name}.{version}")


def drive(situation: Situation, version: str, cuda: str, *gpus: tuple[str, str, int]) -> None:
    kernel_module(situation, version)
    situation.driver(driver=version, cuda=cuda, gpus=gpus or (H200,))


def give_code(situation: Situation, *codes: bytes, path: str = TORCH_CUDA) -> None:
    """GPU code for the environment's own libtorch_cuda, recorded as torch's package brought it."""
    add_fatbins(situation.prefix / path, *codes)
    situation.rerecord("libtorch")


def add_extension(situation: Situation, path: str, *codes: bytes) -> None:
    """A wheel with a compiled extension that holds GPU code."""
    name = Path(path).parts[0].partition(".")[0].replace("_", "-")
    situation.add_wheel(
        name, "2.0", files={path: elf(b"".join(codes))}, tag="cp311-cp311-linux_x86_64"
    )


# --- the driver -----------------------------------------------------------------------------


@covers("driver-too-old")
@pytest.mark.parametrize(
    ("driver", "cuda", "runs"), [("470.82.01", "11.4", "11.8"), ("440.33.01", "10.2", None)]
)
def test_a_driver_of_an_older_major(
    situation: Situation, driver: str, cuda: str, runs: str | None
) -> None:
    drive(situation, driver, cuda, V100)

    [finding] = situation.names("driver-too-old").findings

    assert driver in finding.message
    assert "12.6" in finding.message
    assert "525.60.13" in finding.remedy
    if runs:
        assert f"envforge create p --torch 2.7.1 --cuda {runs}" in finding.remedy


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [
        ("525.60.13", "12.0"),  # the oldest of the major: minor-version compatibility
        ("535.104.05", "12.2"),
        ("580.65.06", "13.0"),
        ("700.20.01", "14.0"),  # newer than our tables
    ],
)
def test_drivers_that_run_it(situation: Situation, driver: str, cuda: str) -> None:
    drive(situation, driver, cuda)
    situation.is_healthy(level="static")


def test_cuda_compat_before_an_older_driver(situation: Situation) -> None:
    """libcuda of 12.8 on a kernel driver of 470: its own word is what counts."""
    situation.driver(driver="470.82.01", cuda="12.8")
    kernel_module(situation, "470.82.01")
    situation.is_healthy(level="static")


def verify_described(situation: Situation, driver: str | None, *gpus: str) -> Report:
    [report] = situation.forge().verify(
        lock=situation.folder / "conda-lock.yml", driver=driver, gpus=gpus
    )
    return report


def test_a_lock_alone_on_a_described_machine(situation: Situation) -> None:
    """`verify --lock FILE --driver 470.82.01 --gpu V100`."""
    report = verify_described(situation, "470.82.01", "V100")
    assert [item.check for item in report.findings] == ["driver-too-old"]
    assert not verify_described(situation, "535.104.05", "H100").findings
    assert not verify_described(situation, None, "A100").findings
    old = verify_described(situation, None, "K80")
    assert [item.check for item in old.findings] == ["arch-too-old"]


# --- PTX ------------------------------------------------------------------------------------


@covers("driver-minor-too-old-for-ptx")
def test_ptx_that_the_driver_cannot_compile(situation: Situation) -> None:
    """Machine code for Ampere, PTX of CUDA 12.6, and an H200 on a driver of 12.2."""
    drive(situation, "535.104.05", "12.2")
    give_code(situation, fatbin("sm_80", "compute_80", ptx=(8, 5)))

    [finding] = situation.names("driver-minor-too-old-for-ptx", level="static").findings

    assert "NVIDIA H200 (9.0)" in finding.message
    assert finding.severity == "error"
    assert "555.42.02 or newer" in finding.expected


@covers("driver-minor-too-old-for-ptx")
def test_ptx_that_does_not_tell_its_version(situation: Situation) -> None:
    """It may be older than the build: a warning."""
    drive(situation, "535.104.05", "12.2")
    give_code(situation, fatbin("compute_80", ptx=(0, 0)))

    report = situation.names("driver-minor-too-old-for-ptx", level="static")

    assert report.findings[0].severity == "warning"


@pytest.mark.parametrize(
    ("driver", "cuda", "codes"),
    [
        ("535.104.05", "12.2", [fatbin("sm_90", "compute_90")]),  # machine code is there
        ("535.104.05", "12.2", [fatbin("sm_80"), fatbin("sm_80", "sm_90")]),
        ("560.35.05", "12.6", [fatbin("sm_80", "compute_80")]),  # the driver of its own toolkit
        ("535.104.05", "12.2", [fatbin("compute_80", ptx=(8, 0))]),  # PTX of CUDA 12.0
    ],
)
def test_ptx_that_is_no_trouble(
    situation: Situation, driver: str, cuda: str, codes: list[bytes]
) -> None:
    drive(situation, driver, cuda)
    give_code(situation, *codes)
    situation.is_healthy(level="static")


# --- architectures --------------------------------------------------------------------------


@covers("arch-too-new")
@pytest.mark.parametrize(
    "codes",
    [
        [fatbin(*ALL)],
        [fatbin("sm_90", "sm_90a", "compute_90a"), fatbin("sm_80")],
        [fatbin(*ALL)] * 60 + [fatbin("sm_120a")],  # one kernel for it is no support
    ],
    ids=["older", "suffix", "rare"],
)
def test_a_gpu_that_came_after_the_build(situation: Situation, codes: list[bytes]) -> None:
    drive(situation, "580.65.06", "13.0", RTX_5090)
    give_code(situation, *codes)

    [finding] = situation.names("arch-too-new", level="static").findings

    assert "RTX 5090 (12.0)" in finding.message
    assert "envforge create p --torch 2.7.1 --cuda 12.9" in finding.remedy


@covers("arch-too-old")
def test_a_gpu_that_the_locked_build_has_no_code_for(situation: Situation) -> None:
    """No GPU code to be read in the library: the lock's claim counts."""
    drive(situation, "570.124.06", "12.8", K80)
    situation.names("arch-too-old", level="static")


@covers("arch-too-old")
@pytest.mark.parametrize("gpus", [(V100,), (H200, V100)])
def test_a_gpu_that_the_build_left_out(
    situation: Situation, gpus: tuple[tuple[str, str, int], ...]
) -> None:
    drive(situation, "580.65.06", "13.0", *gpus)
    situation.env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    give_code(situation, fatbin("sm_75", "sm_80", "sm_90", "compute_90"))

    [finding] = situation.names("arch-too-old", level="static").findings

    assert "Tesla V100-SXM2-16GB (7.0)" in finding.message
    assert "7.5 8.0 9.0+PTX, by libtorch_cuda.so" in finding.seen


@pytest.mark.parametrize(
    ("gpu", "codes"),
    [
        (RTX_5090, [fatbin(*ALL, "sm_120")]),
        (RTX_5090, [fatbin(*ALL, "compute_90")]),
        (FUTURE, [fatbin(*ALL, "compute_90")]),
        (MIG, [fatbin(*ALL)]),
        (THOR, [fatbin("sm_90", "sm_110")]),
        (V100, [fatbin("sm_70", "sm_80")]),
        (A100, [b"\0" * 4096, fatbin("sm_80"), b"\0" * 24, fatbin("sm_80")]),
    ],
    ids=["code", "ptx", "unknown", "mig", "thor", "volta", "padding"],
)
def test_gpus_with_code(
    situation: Situation, gpu: tuple[str, str, int], codes: list[bytes]
) -> None:
    drive(situation, "700.20.01", "14.0", gpu)
    give_code(situation, *codes)
    situation.is_healthy(level="static")


# --- extensions -----------------------------------------------------------------------------


@covers("ext-arch-missing")
@pytest.mark.parametrize(
    "path",
    [
        "flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so",
        "fastops/_C.so",
        "custom_ops/build/lib/_C.abi3.so",
    ],
)
def test_an_extension_for_another_gpu(situation: Situation, path: str) -> None:
    add_extension(situation, path, fatbin("sm_80", "sm_86"))

    [finding] = situation.names("ext-arch-missing").findings

    assert Path(path).parts[0].partition(".")[0] in finding.message
    assert "code for 8.0 8.6" in finding.seen


@covers("ext-arch-missing")
def test_an_extension_near_the_top_is_seen_without_running_anything(situation: Situation) -> None:
    add_extension(situation, "fastops/_C.so", fatbin("sm_80"))
    situation.names("ext-arch-missing", level="static")


def test_extensions_with_code_for_this_gpu(situation: Situation) -> None:
    """Also by PTX, by a sibling for it, and those that NVIDIA builds for other GPUs."""
    add_extension(situation, "flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so", fatbin(*ALL))
    add_extension(situation, "fastops/_C.so", fatbin("sm_80", "compute_80"))
    relative = {
        "server/_C.abi3.so": elf(fatbin("sm_80", "sm_90")),
        "server/_flashmla_C.abi3.so": elf(fatbin("sm_100a")),
        "bnb/libbnb_cuda118.so": elf(fatbin("sm_80")),
        "bnb/libbnb_cuda126.so": elf(fatbin("sm_80", "sm_90")),
        "plain/_core.so": elf(b"", ".text"),
    }
    situation.add_wheel("mixed", "1.0", files=relative)

    situation.is_healthy()


# --- cuDNN and the C library ----------------------------------------------------------------


@covers("cudnn-drops-gpu")
def test_a_cudnn_without_this_gpu(situation: Situation) -> None:
    """conda-forge's torch has code for Volta, and took cuDNN 9.20, which has none."""
    drive(situation, "570.124.06", "12.8", V100)
    for record in (situation.prefix / "conda-meta").glob("libcudnn-*.json"):
        text = record.read_text().replace("9.10.2.21", "9.20.0.48")
        record.unlink()
        record.with_name("libcudnn-9.20.0.48-h0_0.json").write_text(text)
    lock = situation.folder / "conda-lock.yml"
    lock.write_text(lock.read_text().replace("9.10.2.21", "9.20.0.48"))

    report = situation.names("cudnn-drops-gpu", level="static")

    assert "cuDNN 9.20.0.48 does not work on Tesla V100" in report.findings[0].message
    assert '--with "cudnn<9.11"' in report.findings[0].remedy


@covers("glibc-too-old")
def test_a_system_with_an_older_c_library(situation: Situation) -> None:
    """The machine's libc.so.6 ends at 2.17; a locked wheel is for 2.28."""
    libc = b"\x7fELF" + bytes(60) + b"GLIBC_2.2.5\0GLIBC_2.17\0"
    situation.remove("usr/lib/x86_64-linux-gnu/libc.so.6")
    situation.write("usr/lib/x86_64-linux-gnu/libc.so.6", libc)
    situation.is_healthy(level="static")

    situation.add_wheel("newer", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    [finding] = situation.names("glibc-too-old", level="static").findings

    assert finding.message == "newer 1.0 needs glibc 2.28, and this system has 2.17"


def test_the_same_wheel_on_a_newer_system(situation: Situation) -> None:
    situation.add_wheel("newer", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    situation.is_healthy(level="static")


# --- before create --------------------------------------------------------------------------


def test_what_cannot_run_is_not_installed(situation: Situation) -> None:
    """The real driver probe, the real lock: refused before anything is fetched."""
    from envforge.errors import CannotRunHere

    drive(situation, "470.82.01", "11.4", V100)
    with pytest.raises(CannotRunHere, match=r"driver 470\.82\.01 is too old for CUDA 12\.6"):
        situation.forge(package_cache=situation.base / "none").install(
            NAME, prefix=situation.base / "second"
        )
    assert not (situation.base / "second").exists()
