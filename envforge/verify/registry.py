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
from envforge.verify.checks import (
    build,
    companions,
    compatibility,
    compiled,
    compiling,
    containers,
    cudnn,
    devices,
    driver,
    extensions,
    floors,
    gpu_health,
    imports,
    installed,
    integrity,
    linking,
    live,
    loading,
    lock_platform,
    machine_files,
    runtimes,
    shell,
    site,
    symbols,
)

CHECKS: Final[Mapping[str, Check]] = {
    # is the prefix whole?
    "prefix-incomplete": installed.prefix_incomplete,
    "python-missing": installed.python_missing,
    "quota-exceeded-partial-install": integrity.quota_exceeded_partial_install,
    "metadata-broken": installed.metadata_broken,
    "package-cache-corrupt": integrity.package_cache_corrupt,
    "truncated-library": installed.truncated_library,
    "files-unlike-recorded": installed.files_unlike_recorded,
    "edited-file-in-prefix": integrity.edited_file_in_prefix,
    "published-unprotected": integrity.published_unprotected,
    "moved-env-broken-shebang": integrity.moved_env_broken_shebang,
    # is it the build that was asked for?
    "platform-not-locked": lock_platform.platform_not_locked,
    "torch-missing": build.torch_missing,
    "cpu-build-from-conda-solve": build.cpu_build_from_conda_solve,
    "aarch64-cpu-wheel": build.aarch64_cpu_wheel,
    "cpu-wheel-from-pip": build.cpu_wheel_from_pip,
    "cpu-build-solved-in-ci": build.cpu_build_solved_in_ci,
    "rocm-or-xpu-build-on-nvidia": build.rocm_or_xpu_build_on_nvidia,
    "cuda-build-unasked": build.cuda_build_unasked,
    "other-cuda-build": build.other_cuda_build,
    "torch-version-differs": build.torch_version_differs,
    "cudnn-differs": build.cudnn_differs,
    "nvidia-wheels-two-majors": integrity.nvidia_wheels_two_majors,
    "lock-drift": installed.lock_drift,
    "library-of-two-packages": integrity.library_of_two_packages,
    "channel-mix": integrity.channel_mix,
    "folder-name-claim": build.folder_name_claim,
    "machine-local-lock": installed.machine_local_lock,
    # do the packages beside torch fit?
    "numpy2-abi": companions.numpy2_abi,
    "torchvision-cuda-major": companions.torchvision_cuda_major,
    "torch-companion-version": companions.torch_companion_version,
    "xformers-mismatch": companions.xformers_mismatch,
    "bitsandbytes-cpu": companions.bitsandbytes_cpu,
    "triton-torch-mismatch": companions.triton_torch_mismatch,
    "jax-torch-cudnn": companions.jax_torch_cudnn,
    "onnxruntime-cpu-shadows-gpu": companions.onnxruntime_cpu_shadows_gpu,
    "hf-versions": companions.hf_versions,
    "peft-accelerate": companions.peft_accelerate,
    "known-bad-pair": companions.known_bad_pair,
    "requirement-unmet": companions.requirement_unmet,
    # does the machine run it?
    "singularity-no-nv": containers.singularity_no_nv,
    "container-without-gpu": containers.container_without_gpu,
    "container-capabilities-missing": containers.container_capabilities_missing,
    "container-requires-newer-cuda": containers.container_requires_newer_cuda,
    "slurm-no-gres": site.slurm_no_gres,
    "wsl-libcuda-path": site.wsl_libcuda_path,
    "nouveau-holds-gpu": machine_files.nouveau_holds_gpu,
    "secure-boot-unsigned-module": machine_files.secure_boot_unsigned_module,
    "kernel-module-not-loaded": machine_files.kernel_module_not_loaded,
    "kernel-module-not-built": machine_files.kernel_module_not_built,
    "no-driver-at-all": machine_files.no_driver_at_all,
    "dev-nodes-permission": machine_files.dev_nodes_permission,
    "driver-baked-into-image": containers.driver_baked_into_image,
    "driver-library-mismatch-nvml": driver.driver_library_mismatch_nvml,
    "driver-does-not-answer": driver.driver_does_not_answer,
    "gpu-error": gpu_health.gpu_error,
    "confidential-gpu-not-ready": driver.confidential_gpu_not_ready,
    "fabric-not-ready-802": driver.fabric_not_ready_802,
    "cuda-803-driver-combination": driver.cuda_803_driver_combination,
    "mps-daemon-unreachable": driver.mps_daemon_unreachable,
    "stale-cuda-compat": site.stale_cuda_compat,
    "cuda-unknown-999-uvm": machine_files.cuda_unknown_999_uvm,
    "cvd-empty-or-invalid": devices.cvd_empty_or_invalid,
    "gsp-rminit-failed": machine_files.gsp_rminit_failed,
    "mig-without-slices": devices.mig_without_slices,
    "cuda-init-failed": driver.cuda_init_failed,
    "ecc-uncorrectable-row-remap": gpu_health.ecc_uncorrectable_row_remap,
    "exclusive-process-mode": gpu_health.exclusive_process_mode,
    "vgpu-unlicensed": gpu_health.vgpu_unlicensed,
    "memory-already-used": gpu_health.memory_already_used,
    "witnesses-disagree": driver.witnesses_disagree,
    "device-order-mismatch": devices.device_order_mismatch,
    "gpu-throttled": gpu_health.gpu_throttled,
    "nvlink-down": gpu_health.nvlink_down,
    "driver-too-old": compatibility.driver_too_old,
    "driver-minor-too-old-for-ptx": compatibility.driver_minor_too_old_for_ptx,
    "arch-too-new": compatibility.arch_too_new,
    "arch-too-old": compatibility.arch_too_old,
    "ext-arch-missing": floors.ext_arch_missing,
    "cudnn-drops-gpu": floors.cudnn_drops_gpu,
    "glibc-too-old": floors.glibc_too_old,
    "nccl-p2p-hang": site.nccl_p2p_hang,
    "container-shm-too-small": containers.container_shm_too_small,
    "no-usable-gpu": driver.no_usable_gpu,
    # does it load what it should?
    "wrong-python-on-path": shell.wrong_python_on_path,
    "pythonhome-set": shell.pythonhome_set,
    "ld-preload-leak": loading.ld_preload_leak,
    "pythonpath-shadow": shell.pythonpath_shadow,
    "user-site-leak": loading.user_site_leak,
    "activate-var-leak": shell.activate_var_leak,
    "mkl-threading-layer": shell.mkl_threading_layer,
    "illegal-instruction": shell.illegal_instruction,
    "python-does-not-start": loading.python_does_not_start,
    "missing-cuda-lib": linking.missing_cuda_lib,
    "cudnn-major-8-vs-9": linking.cudnn_major_8_vs_9,
    "cudnn-older-than-built": cudnn.cudnn_older_than_built,
    "cudnn-sublibrary-mix": cudnn.cudnn_sublibrary_mix,
    "nvjitlink-symbol": symbols.nvjitlink_symbol,
    "cublaslt-symbol": symbols.cublaslt_symbol,
    "nvrtc-builtins-missing": runtimes.nvrtc_builtins_missing,
    "mkl-ijit": symbols.mkl_ijit,
    "mkl-dispatch-missing": runtimes.mkl_dispatch_missing,
    "two-openmp-runtimes": runtimes.two_openmp_runtimes,
    "glibcxx-too-old": symbols.glibcxx_too_old,
    "openssl-clash": symbols.openssl_clash,
    "executable-stack": runtimes.executable_stack,
    "static-tls": runtimes.static_tls,
    "flash-attn-abi": extensions.flash_attn_abi,
    "vllm-or-other-ext-abi": extensions.vllm_or_other_ext_abi,
    "symbol-version-missing": symbols.symbol_version_missing,
    "undefined-symbol": symbols.undefined_symbol,
    "library-not-found": linking.library_not_found,
    "library-gone": installed.library_gone,
    "library-shadowed": loading.library_shadowed,
    "torch-import-fails": loading.torch_import_fails,
    "torch-from-elsewhere": loading.torch_from_elsewhere,
    "ssl-import-fails": imports.ssl_import_fails,
    "numpy-bridge-fails": imports.numpy_bridge_fails,
    "extension-import-fails": imports.extension_import_fails,
    # can it compile?
    "alloc-conf-invalid": shell.alloc_conf_invalid,
    "cuda-home-mismatch": compiling.cuda_home_mismatch,
    "no-c-compiler": compiling.no_c_compiler,
    "python-headers-missing": compiling.python_headers_missing,
    "triton-libcuda-not-found": compiling.triton_libcuda_not_found,
    "ptxas-too-old": compiling.ptxas_too_old,
    "inductor-cache-perm": compiling.inductor_cache_perm,
    "tmp-noexec": compiling.tmp_noexec,
    # does it compute?
    "nvml-says-yes-cuda-says-no": driver.nvml_says_yes_cuda_says_no,
    "gpu-kernel-fails": live.gpu_kernel_fails,
    "gpu-matmul-wrong": live.gpu_matmul_wrong,
    "cudnn-from-two-places": live.cudnn_from_two_places,
    "gpu-convolution-wrong": live.gpu_convolution_wrong,
    "gpu-attention-wrong": live.gpu_attention_wrong,
    "gpu-copy-wrong": live.gpu_copy_wrong,
    "gpu-ptx-jit-fails": live.gpu_ptx_jit_fails,
    "cpu-compute-wrong": live.cpu_compute_wrong,
    "torch-compile-fails": compiled.torch_compile_fails,
    "nccl-allreduce-fails": compiled.nccl_allreduce_fails,
    "gpu-slow-copies": live.gpu_slow_copies,
    "compile-cache-missed": compiled.compile_cache_missed,
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
