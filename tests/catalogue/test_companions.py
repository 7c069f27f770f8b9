"""Packages beside torch that do not fit it, or one another."""

from __future__ import annotations

import json

import pytest
from fakes.situation import SERIES, TORCH, Situation, covers

CUDA_LABEL = "cu126"


@covers("numpy2-abi")
def test_a_package_built_for_numpy_1(situation: Situation) -> None:
    """It says so in its metadata, and NumPy 2 is there."""
    situation.add_wheel("oldmath", "0.3", requires=["numpy<2,>=1.21"])

    report = situation.names("numpy2-abi")

    assert "oldmath 0.3" in report.findings[0].message
    assert "numpy<2" in report.findings[0].remedy


@covers("numpy2-abi")
def test_a_conda_package_built_with_numpy_1(situation: Situation) -> None:
    """Its record says so, and pip or `--no-deps` put NumPy 2 beside it."""
    depends = ["numpy >=1.26.4,<2.0a0", f"python >={SERIES}"]
    situation.add_package("oldmath", "2.1.4", depends=depends)
    situation.add_package("newmath", "2.2.3", depends=["numpy >=1.23,<3"])

    report = situation.names("numpy2-abi")

    assert "oldmath 2.1.4 needs" in report.findings[0].message


def test_a_package_that_takes_both_numpys(situation: Situation) -> None:
    situation.add_wheel("newmath", "0.4", requires=["numpy>=1.21", 'colour; extra == "show"'])

    situation.is_healthy()


@covers("torchvision-cuda-major")
@pytest.mark.parametrize("name", ["torchvision", "torchaudio"])
def test_a_domain_library_for_another_cuda(situation: Situation, name: str) -> None:
    """Its version.py names CUDA 11.8, as the wheels of cu118 do."""
    version = "__version__ = '0.22.1+cu118'\ncuda = '11.8'\ngit_version = 'abc'\n"
    situation.add_wheel(name, "0.22.1+cu118", files={f"{name}/version.py": version})

    report = situation.names("torchvision-cuda-major")

    assert "11.8" in report.findings[0].message


def test_the_domain_libraries_of_this_torch(situation: Situation) -> None:
    """The same CUDA, once in version.py and once in the local part alone."""
    version = "from typing import Optional\n__version__ = '0.22.1'\ncuda: Optional[str] = '12.6'\n"
    requires = [f"torch=={TORCH}"]
    files = {"torchvision/version.py": version}
    situation.add_wheel("torchvision", "0.22.1", files=files, requires=requires)
    files = {"torchaudio/version.py": "__version__ = '2.7.1+cu126'\n"}
    situation.add_wheel("torchaudio", "2.7.1+cu126", files=files, requires=requires)

    situation.is_healthy()


@covers("torch-companion-version")
def test_torchvision_of_another_torch(situation: Situation) -> None:
    situation.add_wheel("torchvision", "0.20.0", requires=["torch==2.5.0", "numpy"])

    report = situation.names("torch-companion-version")

    assert "torch==2.5.0" in report.findings[0].message


def xformers(torch: str, cuda: int | None) -> dict[str, str]:
    document = {"version": {"cuda": cuda, "hip": None, "torch": torch, "python": "3.10.13"}}
    return {"xformers/__init__.py": "", "xformers/cpp_lib.json": json.dumps(document)}


@covers("xformers-mismatch")
@pytest.mark.parametrize(("torch", "cuda"), [("2.1.2+cu121", 1201), (f"{TORCH}+cpu", None)])
def test_xformers_of_another_torch(situation: Situation, torch: str, cuda: int | None) -> None:
    situation.add_wheel("xformers", "0.0.23", files=xformers(torch, cuda))

    situation.names("xformers-mismatch")


@covers("xformers-mismatch")
def test_xformers_of_conda_for_another_torch(situation: Situation) -> None:
    situation.add_package("xformers", "0.0.23", "py311_cu11.8.0_pyt2.1.1")

    situation.names("xformers-mismatch")


def test_xformers_of_conda_for_this_torch(situation: Situation) -> None:
    situation.add_package("xformers", "0.0.30", f"py311_cu12.6.3_pyt{TORCH}")

    situation.is_healthy()


def test_xformers_of_this_torch(situation: Situation) -> None:
    """A later patch of the same minor release, and another minor CUDA, are fine."""
    situation.add_wheel("xformers", "0.0.31", files=xformers("2.7.0+cu128", 1208))

    situation.is_healthy()


@covers("xformers-mismatch")
def test_xformers_that_tells_nothing(situation: Situation) -> None:
    """A file that cannot be read proves nothing."""
    situation.add_wheel("xformers", "0.0.31", files={"xformers/cpp_lib.json": "{"})

    report = situation.is_healthy()

    assert "xformers-mismatch" in [item.check for item in report.unproven]


@covers("bitsandbytes-cpu")
@pytest.mark.parametrize("libraries", [(), ("cuda121", "cuda124"), ("cuda118_nocublaslt",)])
def test_bitsandbytes_without_our_cuda(situation: Situation, libraries: tuple[str, ...]) -> None:
    names = ["cpu", *libraries]
    files = {f"bitsandbytes/libbitsandbytes_{name}.so": "stand-in" for name in names}
    situation.add_wheel("bitsandbytes", "0.43.0", files=files)

    report = situation.names("bitsandbytes-cpu")

    assert "12.6" in report.findings[0].message


@covers("bitsandbytes-cpu")
def test_bitsandbytes_led_astray(situation: Situation) -> None:
    """BNB_CUDA_VERSION names another CUDA."""
    files = {"bitsandbytes/libbitsandbytes_cuda126.so": "stand-in"}
    situation.add_wheel("bitsandbytes", "0.45.0", files=files)
    situation.is_healthy()
    situation.env["BNB_CUDA_VERSION"] = "117"

    report = situation.names("bitsandbytes-cpu")

    assert report.findings[0].remedy == "unset BNB_CUDA_VERSION"


@covers("triton-torch-mismatch")
def test_another_triton(situation: Situation) -> None:
    """Torch's metadata pins one, another package brought another."""
    _torch_requires(situation, 'triton==3.3.1 ; platform_system == "Linux"')
    situation.add_wheel("triton", "3.2.0")

    report = situation.names("triton-torch-mismatch")

    assert "3.3.1" in report.findings[0].message


@covers("triton-torch-mismatch")
def test_two_tritons(situation: Situation) -> None:
    situation.add_wheel("triton", "3.3.1")
    situation.add_wheel("pytorch-triton", "3.3.1+gitc8757738")

    situation.names("triton-torch-mismatch")


def test_the_triton_that_torch_asks_for(situation: Situation) -> None:
    _torch_requires(situation, 'triton==3.3.1 ; platform_system == "Linux"')
    _torch_requires(situation, 'triton==9.9 ; platform_system == "Windows"')
    situation.add_wheel("triton", "3.3.1")

    situation.is_healthy()


def _torch_requires(situation: Situation, requirement: str) -> None:
    metadata = situation.site / f"torch-{TORCH}.dist-info" / "METADATA"
    metadata.write_text(f"{metadata.read_text()}Requires-Dist: {requirement}\n")
    situation.rerecord("pytorch")


@covers("jax-torch-cudnn")
def test_jax_wants_a_newer_cudnn(situation: Situation) -> None:
    """Its plug-in names cuDNN under an extra, which pip check never looks at."""
    requires = ['nvidia-cudnn-cu12<10.0,>=9.13; extra == "with-cuda"']
    situation.add_wheel("jax-cuda12-plugin", "0.7.0", requires=requires)

    report = situation.names("jax-torch-cudnn")

    assert "9.13" in report.findings[0].expected


def test_jax_with_a_cudnn_that_is_new_enough(situation: Situation) -> None:
    requires = ['nvidia-cudnn-cu12<10.0,>=9.8; extra == "with-cuda"']
    situation.add_wheel("jax-cuda12-plugin", "0.7.0", requires=requires)

    situation.is_healthy()


@covers("onnxruntime-cpu-shadows-gpu")
def test_two_onnxruntimes(situation: Situation) -> None:
    situation.add_wheel("onnxruntime", "1.20.0")
    situation.add_wheel("onnxruntime-gpu", "1.20.0")

    situation.names("onnxruntime-cpu-shadows-gpu")


def test_one_onnxruntime(situation: Situation) -> None:
    situation.add_wheel("onnxruntime-gpu", "1.20.0")

    situation.is_healthy()


@covers("hf-versions")
def test_transformers_with_a_hub_that_is_too_new(situation: Situation) -> None:
    situation.add_wheel("transformers", "4.56.0", requires=["huggingface-hub<1.0,>=0.34.0"])
    situation.add_wheel("huggingface-hub", "1.2.3")

    report = situation.names("hf-versions")

    assert "1.2.3" in report.findings[0].message


TABLE = """# THIS FILE HAS BEEN AUTOGENERATED.
deps = {
    "tokenizers": "tokenizers>=0.22.0,<=0.23.0",
    "numpy": "numpy>=1.17",
}
"""
CHECK = """pkgs_to_check_at_runtime = [
    "python",
    "numpy",
    "tokenizers",
]
"""


@covers("hf-versions")
def test_transformers_own_table(situation: Situation) -> None:
    """It refuses at import, though its metadata says nothing."""
    files = {
        "transformers/dependency_versions_table.py": TABLE,
        "transformers/dependency_versions_check.py": CHECK,
    }
    situation.add_wheel("transformers", "4.56.0", files=files)
    situation.add_wheel("tokenizers", "0.22.1")
    situation.is_healthy()
    situation.add_wheel("tokenizers", "0.19.1", replaces="0.22.1")

    report = situation.names("hf-versions")

    assert "0.19.1" in report.findings[0].message


@covers("peft-accelerate")
def test_a_new_peft_and_an_old_accelerate(situation: Situation) -> None:
    """The metadata of both is content."""
    situation.add_wheel("peft", "0.15.0", requires=["accelerate>=0.21.0"])
    situation.add_wheel("accelerate", "0.26.0")

    situation.names("peft-accelerate")


def test_a_new_peft_and_a_new_accelerate(situation: Situation) -> None:
    situation.add_wheel("peft", "0.15.0", requires=["accelerate>=0.21.0"])
    situation.add_wheel("accelerate", "1.6.0")

    situation.is_healthy()


@covers("known-bad-pair")
def test_setuptools_that_dropped_what_torch_uses(situation: Situation) -> None:
    situation.add_wheel("setuptools", "82.0.1")

    report = situation.names("known-bad-pair")

    assert report.passed
    assert "pkg_resources" in report.findings[0].message


@covers("requirement-unmet")
@pytest.mark.parametrize("requirement", ["absent>=1", "present>=2"])
def test_a_wheel_without_what_it_needs(situation: Situation, requirement: str) -> None:
    situation.add_wheel("present", "1.0")
    situation.add_wheel("needy", "1.0", requires=[requirement])

    report = situation.names("requirement-unmet")

    assert report.passed
    assert requirement in report.findings[0].message


def test_requirements_that_do_not_count(situation: Situation) -> None:
    """Other systems, other Pythons, extras, and what nobody can parse."""
    requires = ["absent; sys_platform == 'win32'", "absent; python_version < '3'", "??? nonsense"]
    situation.add_wheel("calm", "1.0", requires=[*requires, "absent; extra == 'all'"])

    situation.is_healthy()
