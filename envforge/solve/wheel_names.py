"""From conda's names and version ranges to those of wheels.

People write conda names (`--with msgpack-python`), templates too; where torch is a wheel, so is
everything around it. Most names are equal after normalising. The others stand below, with names
as the conda-forge feedstocks and the registry give them; prefix-dev/parselmouth and the mapping
of regro/cf-graph-countyfair (`mappings/pypi`) hold the same pairs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from envforge.errors import InvalidValue
from envforge.model.spec import Dependency

# The import name, or the project's own, is taken on the registry by something else or was
# registered under another name. Source: the `test.imports` and `source.url` of the
# conda-forge feedstock of each.
RENAMED: Final[Mapping[str, str]] = {
    "brotli-python": "brotli",  # `brotli` is the C library there
    "faiss": "faiss-cpu",  # the registry has builds by accelerator only
    "msgpack-python": "msgpack",
    "opencv": "opencv-python-headless",  # without Qt: servers have no display
    "py-opencv": "opencv-python-headless",
    "py-xgboost": "xgboost",
    "pyg": "torch-geometric",
    "pyqt": "pyqt5",
    "pysoundfile": "soundfile",
    "pytables": "tables",
    "python-fastjsonschema": "fastjsonschema",
    "python-flatbuffers": "flatbuffers",
    "python-graphviz": "graphviz",  # `graphviz` is the program there
    "python-kaleido": "kaleido",
    "python-tzdata": "tzdata",
    "python-xxhash": "xxhash",  # `xxhash` is the C library there
    "pytorch": "torch",
    "pytorch-cpu": "torch",
    "pytorch-geometric": "torch-geometric",
    "pytorch-gpu": "torch",
    "torchtriton": "triton",  # the pytorch channel's name
    "psycopg2": "psycopg2-binary",  # the plain project ships no Linux wheels
}

# conda-forge splits some projects into a core without optional parts and the whole.
# Source: the `outputs` of the feedstock of each.
SPLIT: Final[Mapping[str, str]] = {
    "dask-core": "dask",
    "geopandas-base": "geopandas",
    "matplotlib-base": "matplotlib",
    "pyarrow-core": "pyarrow",
    "ray-core": "ray",
    "ray-default": "ray",
    "seaborn-base": "seaborn",
    "uvicorn-standard": "uvicorn",
}

_CUDA_IN_TORCH = "torch's wheels bring their own CUDA libraries; `--cuda` chooses which"
_SYSTEM = "it is a program, not a Python package; install it on the system, or use a conda source"
_COMPILER = "compilers are not wheels; use the system's, or a conda source"
_LIBRARY = "wheels carry the C libraries they need; leave it out, or use a conda source"

# Conda packages without a counterpart on the registry, some of whose names mean something else
# there. Source: the feedstocks, whose `about.home` is a program or a C library.
NO_WHEEL: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *("cudatoolkit", "cudatoolkit-dev", "cuda", "cuda-version", "cuda-runtime"),
            *("cuda-libraries", "cuda-nvcc", "cuda-cudart", "cuda-compiler", "cudnn", "nccl"),
            *("pytorch-cuda", "pytorch-mutex", "cpuonly", "magma", "magma-cuda118"),
            *("libcublas", "libcufft", "libcusparse", "libcusolver", "cutensor"),
        ),
        _CUDA_IN_TORCH,
    ),
    **dict.fromkeys(
        (
            *("gcc", "gxx", "gfortran", "clang", "clangxx", "compilers", "c-compiler"),
            *("cxx-compiler", "fortran-compiler", "gcc-linux-64", "gxx-linux-64"),
            *("sysroot-linux-64", "binutils", "make"),
        ),
        _COMPILER,
    ),
    **dict.fromkeys(
        (
            *("ffmpeg", "git", "git-lfs", "sox", "jq", "curl", "wget", "nodejs", "openjdk"),
            *("tesseract", "poppler", "imagemagick", "openmpi", "mpich", "r-base", "tmux", "htop"),
        ),
        _SYSTEM,
    ),
    **dict.fromkeys(
        (
            *("zlib", "openssl", "ca-certificates", "sqlite", "readline", "ncurses", "tk"),
            *("libgcc", "libgcc-ng", "libstdcxx", "libstdcxx-ng", "libsndfile", "libjpeg-turbo"),
            *("libpng", "libtiff", "hdf5", "blas", "libblas", "libopenblas", "openblas", "boost"),
            *("lz4-c", "zeromq", "zstd", "bzip2", "xz", "freetype", "glib", "llvm-openmp"),
        ),
        _LIBRARY,
    ),
    "graphviz": "that is the program; its Python package is `python-graphviz`",
    "faiss-gpu": "the registry has it by CUDA: name `faiss-gpu-cu12` under `pip:` instead",
    "detectron2": "its wheels are not on the registry; give an address: `detectron2 @ https://…`",
    "pytorch3d": "its wheels are not on the registry; give an address: `pytorch3d @ https://…`",
    "nltk-data": "it is data: `python -m nltk.downloader` fetches it",
    "python-abi": "wheels say their ABI in their name; leave it out",
}

_NAMES: Final = {**RENAMED, **SPLIT}
_PART = re.compile(r"(?P<operator>===|==|!=|<=|>=|~=|<|>|=)?\s*(?P<version>[^\s<>=!~]+)")


def wheel_name(name: str) -> str:
    """The registry's name of a conda package, normalised as PEP 503 asks.

    Raises:
        InvalidValue: it has no wheel; the remedy says what to do instead.
    """
    normalised = str(canonicalize_name(name))
    if normalised in NO_WHEEL or (normalised.startswith("lib") and normalised.endswith("-dev")):
        raise InvalidValue(
            what="package",
            value=name,
            reason="has no wheel",
            remedy=NO_WHEEL.get(normalised, _LIBRARY),
        )
    return _NAMES.get(normalised, normalised)


def wheel_version(spec: str) -> str:
    """A conda version spec as a PEP 440 specifier; both empty where any version will do.

    `=1.26` and `1.26.*` become `==1.26.*`, a bare `1.26` becomes `==1.26`, as conda's MatchSpec
    reads them; ranges joined by commas stay.

    Raises:
        InvalidValue: alternatives (`1.2|1.3`), regular expressions and versions that are not of
            PEP 440 have no counterpart.
    """
    text = spec.strip()
    if text in {"", "*"}:
        return ""
    if "|" in text or text.startswith("^"):
        raise _untranslatable(spec, "has alternatives, which wheels' version ranges cannot express")
    result = ",".join(_part(part.strip(), spec) for part in text.split(",") if part.strip() != "*")
    try:
        SpecifierSet(result)
    except InvalidSpecifier:
        raise _untranslatable(spec, "is not a version of PEP 440, as wheels have them") from None
    return result


def _part(part: str, spec: str) -> str:
    found = _PART.fullmatch(part)
    if not found:
        raise _untranslatable(spec, "is not a version range")
    operator, version = found["operator"] or "==", found["version"]
    starred = version.endswith("*")
    version = version.rstrip("*").rstrip(".")
    if operator == "=":
        return f"=={version}.*"
    if starred and operator in {"==", "!="}:
        return f"{operator}{version}.*"
    # conda takes `>=1.8.*` for `>=1.8`; PEP 440 refuses it.
    return f"{operator}{version}"


def _untranslatable(spec: str, reason: str) -> InvalidValue:
    return InvalidValue(
        what="version",
        value=spec,
        reason=reason,
        remedy="write one range, for example `>=4.40,<5`",
    )


def wheel_requirement(dependency: Dependency) -> str:
    """A conda dependency as a PEP 508 requirement: `numpy==1.26.*`.

    Raises:
        InvalidValue: no such wheel, no such range, or it asks for a conda channel or build.
    """
    if dependency.channel or dependency.build:
        raise InvalidValue(
            what="package",
            value=dependency.name,
            reason=f"asks for the conda build `{dependency.channel or dependency.build}`",
            remedy="leave channel and build out where torch is a wheel, or choose a conda source",
        )
    extras = f"[{','.join(dependency.extras)}]" if dependency.extras else ""
    return f"{wheel_name(dependency.name)}{extras}{wheel_version(dependency.version)}"
