"""The table of checks: id to check, in the order in which findings are told.

Causes come before what follows from them: a driver that does not start explains why no kernel
runs. Ids are stable; they stand in reports, in `--check` and `--skip`, and in people's scripts.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from envforge.errors import InvalidValue
from envforge.verify.check import Check
from envforge.verify.checks import build, compatibility, driver, installed, live, loading

CHECKS: Final[Mapping[str, Check]] = {
    # is the prefix whole?
    "prefix-incomplete": installed.prefix_incomplete,
    "python-missing": installed.python_missing,
    "metadata-broken": installed.metadata_broken,
    "truncated-library": installed.truncated_library,
    "files-unlike-recorded": installed.files_unlike_recorded,
    # is it the build that was asked for?
    "torch-missing": build.torch_missing,
    "cpu-build-from-conda-solve": build.cpu_build_from_conda_solve,
    "cpu-wheel-from-pip": build.cpu_wheel_from_pip,
    "cpu-build-solved-in-ci": build.cpu_build_solved_in_ci,
    "rocm-or-xpu-build-on-nvidia": build.rocm_or_xpu_build_on_nvidia,
    "cuda-build-unasked": build.cuda_build_unasked,
    "other-cuda-build": build.other_cuda_build,
    "torch-version-differs": build.torch_version_differs,
    "cudnn-differs": build.cudnn_differs,
    "lock-drift": installed.lock_drift,
    "folder-name-claim": build.folder_name_claim,
    "machine-local-lock": installed.machine_local_lock,
    # does the machine run it?
    "no-driver-at-all": driver.no_driver_at_all,
    "driver-library-mismatch-nvml": driver.driver_library_mismatch_nvml,
    "driver-does-not-answer": driver.driver_does_not_answer,
    "fabric-not-ready-802": driver.fabric_not_ready_802,
    "cuda-803-driver-combination": driver.cuda_803_driver_combination,
    "cuda-unknown-999-uvm": driver.cuda_unknown_999_uvm,
    "cuda-init-failed": driver.cuda_init_failed,
    "cvd-empty-or-invalid": driver.cvd_empty_or_invalid,
    "driver-too-old": compatibility.driver_too_old,
    "driver-minor-too-old-for-ptx": compatibility.driver_minor_too_old_for_ptx,
    "arch-too-new": compatibility.arch_too_new,
    "arch-too-old": compatibility.arch_too_old,
    "no-usable-gpu": driver.no_usable_gpu,
    # does it load what it should?
    "ld-preload-leak": loading.ld_preload_leak,
    "pythonpath-shadow": loading.pythonpath_shadow,
    "user-site-leak": loading.user_site_leak,
    "python-does-not-start": loading.python_does_not_start,
    "cudnn-older-than-built": loading.cudnn_older_than_built,
    "library-shadowed": loading.library_shadowed,
    "torch-import-fails": loading.torch_import_fails,
    "torch-from-elsewhere": loading.torch_from_elsewhere,
    # does it compute?
    "nvml-says-yes-cuda-says-no": live.nvml_says_yes_cuda_says_no,
    "gpu-kernel-fails": live.gpu_kernel_fails,
    "gpu-matmul-wrong": live.gpu_matmul_wrong,
    "cpu-compute-wrong": live.cpu_compute_wrong,
}


def chosen(
    checks: Mapping[str, Check], *, only: Collection[str] = (), skip: Collection[str] = ()
) -> dict[str, Check]:
    """The checks to run, in their order.

    Raises:
        InvalidValue: an id that no check has, with the nearest ones.
    """
    for name in (*only, *skip):
        if name not in checks:
            raise unknown_check(name, checks)
    return {
        name: item
        for name, item in checks.items()
        if (not only or name in only) and name not in skip
    }


def unknown_check(name: str, checks: Iterable[str]) -> InvalidValue:
    """The error for an id that no check has."""
    close = difflib.get_close_matches(name, list(checks), n=3)
    nearest = " or ".join(f"`{item}`" for item in close)
    return InvalidValue(
        what="check",
        value=name,
        reason="does not exist",
        remedy=f"did you mean {nearest}?" if close else "`envforge verify --list` shows them",
    )


def extended(extra: Mapping[str, object]) -> dict[str, Check]:
    """The table with the checks that other packages add; theirs come last.

    Raises:
        InvalidValue: an id that is taken, or something that is no `Check`.
    """
    table = dict(CHECKS)
    for name, item in extra.items():
        if name in table:
            raise InvalidValue(what="check", value=name, reason="is added a second time")
        if not isinstance(item, Check):
            raise InvalidValue(
                what="check",
                value=name,
                reason=f"is a {type(item).__name__}",
                remedy="decorate it with `envforge.verify.check.check`",
            )
        table[name] = item
    return table
