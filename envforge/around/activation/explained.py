"""Why each variable of an activation is set, and where its meaning is documented. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from envforge.formats.text.secret_shapes import SECRET, SECRET_NAME, hide
from envforge.model.activation import Explained

_CONDA: Final = "conda documentation, Managing environments"
_HUB: Final = "huggingface_hub documentation, Environment variables"
_TORCH_CUDA: Final = "PyTorch documentation, CUDA semantics, Memory management"
_INDUCTOR: Final = "PyTorch documentation, Compile time caching in torch.compile"
_CUDA: Final = "CUDA programming guide, Environment variables"
_THREADS: Final = "PyTorch documentation, Threading environment variables"

_WHY: Final[Mapping[str, tuple[str, str]]] = {
    "CONDA_PREFIX": ("where the environment is installed", _CONDA),
    "CONDA_DEFAULT_ENV": ("its name, for prompts and tools", _CONDA),
    "CONDA_PROMPT_MODIFIER": ("what a prompt begins with", _CONDA),
    "CONDA_SHLVL": ("how many environments are active", _CONDA),
    "PATH": ("the environment's programs come first", _CONDA),
    "PYTHONNOUSERSITE": (
        "packages in ~/.local do not replace those that are locked",
        "Python documentation, PYTHONNOUSERSITE",
    ),
    "PYTHONHASHSEED": (
        "sets and hashes of strings have the same order in every run",
        "Python documentation, PYTHONHASHSEED",
    ),
    "CUBLAS_WORKSPACE_CONFIG": (
        (
            "cuBLAS computes the same in every run; programs must also call"
            " torch.use_deterministic_algorithms(True)"
        ),
        "PyTorch documentation, Reproducibility; cuBLAS documentation, Results reproducibility",
    ),
    "PYTORCH_CUDA_ALLOC_CONF": ("how torch keeps the memory of a GPU", _TORCH_CUDA),
    "PYTORCH_ALLOC_CONF": ("how torch keeps the memory of a GPU (torch 2.10)", _TORCH_CUDA),
    "TORCHINDUCTOR_CACHE_DIR": (
        "what torch.compile makes is found again in the next run: by default it lies in /tmp",
        _INDUCTOR,
    ),
    "TRITON_CACHE_DIR": (
        "kernels that Triton made are found again, apart from other environments' and GPUs'",
        _INDUCTOR,
    ),
    "CUDA_CACHE_PATH": ("what the driver compiles from PTX is found again", _CUDA),
    "CUDA_CACHE_MAXSIZE": ("bytes of that; the driver drops the oldest", _CUDA),
    "OMP_NUM_THREADS": (
        "no more threads than processors that this process may use: torch counts the machine's",
        _THREADS,
    ),
    "TORCHINDUCTOR_COMPILE_THREADS": (
        "no more compilers at once than processors that this process may use",
        "torch/_inductor/config.py, decide_compile_threads",
    ),
    "HF_HUB_CACHE": ("models come from the shared store, by this user's view of it", _HUB),
    "HUGGINGFACE_HUB_CACHE": ("the same for huggingface_hub before 0.19", _HUB),
    "TRANSFORMERS_CACHE": (
        "the same for transformers before 5",
        "transformers documentation, Cache setup",
    ),
    "LD_LIBRARY_PATH": (
        "libraries there are loaded before the environment's own",
        "ld.so(8)",
    ),
}


def explained(found: Iterable[tuple[str, str, str]]) -> tuple[Explained, ...]:
    """Each name, value and source with its reason; secrets are not shown.

    A name that comes twice was overridden: the last one counts.
    """
    last = {name: (value, source) for name, value, source in found}
    return tuple(_one(name, value, source) for name, (value, source) in last.items())


def _one(name: str, value: str, source: str) -> Explained:
    why, documented = _WHY.get(name, ("", ""))
    return Explained(
        name=name,
        value=SECRET if SECRET_NAME.search(name) else hide(value),
        why=why,
        source=source,
        documented=documented,
    )
