"""What we write is what conda-lock and rattler read, and our hash is conda-lock's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envforge.formats.conda import environment_yml, virtual_packages_yml
from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.conda_lock.content_hash import content_hashes
from envforge.model.cuda import CudaVersion
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.machine import PLATFORMS, Platform
from envforge.model.spec import VirtualPackage

pytestmark = [
    # What conda-lock's own code says while it is asked.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Marker .* contains environment markers"),
]

MACHINES: dict[Platform, tuple[VirtualPackage, ...]] = {
    "linux-64": (
        VirtualPackage(name="__archspec", version="1", build="x86_64"),
        VirtualPackage(name="__cuda", version="11.8"),
        VirtualPackage(name="__glibc", version="2.28"),
        VirtualPackage(name="__linux", version="5.10"),
        VirtualPackage(name="__unix", version="0"),
    ),
    "linux-aarch64": (VirtualPackage(name="__glibc", version="2.28"),),
    "osx-arm64": (VirtualPackage(name="__osx", version="13.0"),),
    "win-64": (
        VirtualPackage(name="__cuda", version="12.1"),
        VirtualPackage(name="__win", version="0"),
    ),
}

CASES = {
    "plain": "dependencies: [python=3.10, numpy, 'scipy>=1.2,<2']",
    "versions": """
dependencies:
  - a 1.2
  - b=1.2
  - c==1.2
  - d=1.2.*
  - e 1.2*
  - f >=1.2, <2
  - g=1.2=py310_0
  - h==1.2=py310_0
  - i 1.2 py310_0
  - j=*=*cuda126*
  - k 1.2.* *cuda*
  - l ~=1.4
  - m !=1.5.*,>=1
  - n >=1,<2|>=3
  - o=1.2|1.3
  - p==1.2,<3
  - q=1.2*
  - Mixed_Case>=1
""",
    "channels": """
dependencies:
  - pytorch::pytorch=2.0.1=py3.10_cuda11.8*
  - conda-forge/label/dev::x
  - https://conda.anaconda.org/pytorch::y>=1
  - https://my.host/path/chan::z
  - defaults::w
  - pkgs/main::v
""",
    "pip": """
dependencies:
  - python=3.10
  - pip=23
  - pip:
      - datasets[vision,audio]>=2,!=2.5,<3
      - Torch_Vision==0.15.2
      - a~=1.4
      - b
      - c===1.0
      - torch @ https://download.pytorch.org/whl/cu118/torch-2.0.1-cp310-cp310-linux_x86_64.whl#sha256=abc
      - e[x] @ https://h/e-1-py3-none-any.whl
      - f @ file:///srv/wheels/f-1-py3-none-any.whl#sha256=abc
      - g; sys_platform == 'win32'
      - h>=1 ; python_version < '3.11' and sys_platform == "linux"
      - i; platform_system != 'Darwin' or os_name == 'nt'
      - j @ https://h/j-1-py3-none-any.whl ; sys_platform == 'darwin'
""",
    "comments": """
dependencies:
  - python=3.10.14  # asked: =3.10
  # a comment of its own
  - numpy=1.26.4  # asked: any; pinned for torch < 2.3
""",
}  # fmt: skip


def environment(dependencies: str, platforms: tuple[str, ...] = PLATFORMS) -> str:
    return (
        "name: demo-torch20-cu118\n"
        "channels: [nvidia, conda-forge, pytorch, 'https://repo.host/t/$TOKEN/chan', nodefaults]\n"
        f"platforms: [{', '.join(platforms)}]\n{dependencies.strip()}\nvariables: {{A: b}}\n"
    )


def hashes_by_conda_lock(text: str, folder: Path) -> dict[str, str]:
    """What conda-lock computes from the two files and an empty table of names."""
    from conda_lock.content_hash import compute_content_hashes
    from conda_lock.src_parser import make_lock_spec
    from conda_lock.virtual_package import virtual_package_repo_from_specification

    source = folder / "environment.yml"
    source.write_text(text)
    machines = folder / "virtual-packages.yml"
    machines.write_text(virtual_packages_yml.write(MACHINES))
    names = folder / "names.json"
    names.write_text("{}")
    spec = make_lock_spec(src_files=[source], mapping_url=str(names))
    return dict(compute_content_hashes(spec, virtual_package_repo_from_specification(machines)))


@pytest.mark.parametrize("case", CASES)
def test_content_hashes_are_those_of_conda_lock(case: str, tmp_path: Path) -> None:
    """Every form of a dependency that we read, on every platform."""
    text = environment(CASES[case])

    ours = content_hashes(environment_yml.read(text, "environment.yml").spec, MACHINES)

    assert ours == hashes_by_conda_lock(text, tmp_path)


NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,7}[a-z0-9]", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}(a1|rc2|\.post1)?", fullmatch=True)
CLAUSES = st.tuples(st.sampled_from([">=", "<", "<=", ">", "!=", "==", "="]), VERSIONS).map("".join)
RANGES = st.lists(CLAUSES | VERSIONS.map("{}.*".format), min_size=1, max_size=3).map(",".join)
BUILDS = st.sampled_from(["py310_0", "*cuda11.8*", "0", "h1234_*"])
CONDA_LINES = st.one_of(
    NAMES,
    st.tuples(NAMES, CLAUSES).map("".join),
    st.tuples(NAMES, RANGES).map(" ".join),
    st.tuples(NAMES, VERSIONS, BUILDS).map("=".join),
    st.tuples(NAMES, RANGES, BUILDS).map(" ".join),
    st.tuples(st.sampled_from(["pytorch", "conda-forge"]), NAMES, CLAUSES).map(
        lambda parts: f"{parts[0]}::{parts[1]}{parts[2]}"
    ),
)
PIP_CLAUSES = st.tuples(st.sampled_from([">=", "<", "!=", "=="]), VERSIONS).map("".join)
PIP_LINES = st.tuples(
    NAMES,
    st.sampled_from(["", "[extra]", "[b,a]"]),
    st.lists(PIP_CLAUSES, max_size=2, unique=True).map(",".join),
    st.sampled_from(["", "; sys_platform == 'linux'", "; python_version >= '3.9'"]),
).map("".join)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    conda=st.lists(CONDA_LINES, max_size=5, unique_by=lambda line: line[:3]),
    pip=st.lists(PIP_LINES, max_size=3, unique_by=lambda line: line[:2]),
)
def test_content_hashes_of_any_spec(
    conda: list[str], pip: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Generated specs; those that our stricter reader refuses are no subject here."""
    from envforge.errors import InvalidFile
    from envforge.formats.text.yaml_text import quoted

    lines = [f"  - {quoted(line)}" for line in conda]
    lines += ["  - pip:", *(f"      - {quoted(line)}" for line in pip)] if pip else []
    text = environment("dependencies:\n" + "\n".join(lines) if lines else "dependencies: []")
    try:
        spec = environment_yml.read(text, "environment.yml").spec
    except InvalidFile as error:
        if "second time" in str(error):  # two generated names that are one to pip or conda
            return
        raise

    assert content_hashes(spec, MACHINES) == hashes_by_conda_lock(
        text, tmp_path_factory.mktemp("hash")
    )


def package(name: str, platform: str = "linux-64", **fields: object) -> LockedPackage:
    """A conda package; its hashes are made up, and hex numbers that look like decimals."""
    values: dict[str, object] = {
        "version": "1.0",
        "build": "h0_0",
        "url": f"https://conda.anaconda.org/conda-forge/{platform}/{name}-1.0-h0_0.conda",
        "md5": "0" * 31 + "1",
        "sha256": "12" + "e" + "5" * 61,
    }
    return LockedPackage(name=name, platform=platform, **{**values, **fields})  # type: ignore[arg-type]


def example_lock(text: str) -> Lock:
    spec = environment_yml.read(text, "environment.yml").spec
    wheel = package(
        "torch",
        manager="pip",
        version="2.0.1+cu118",
        build="",
        md5="",
        url="https://download.pytorch.org/whl/cu118/torch-2.0.1%2Bcu118-cp310-cp310-linux_x86_64.whl",
        depends=("filelock", "sympy >=1.0"),
        size=2_267_273_683,
    )
    packages = [
        package(
            "numpy",
            depends=("python_abi 3.10.* *_cp310", "libblas >=3.9.0,<4.0a0", "libblas * *mkl"),
            size=7_039_431,
        ),
        package("python_abi", version="3.10", build="5_cp310"),
        package("libblas", depends=("__glibc >=2.17,<3.0.a0", "__cuda")),
        package("0x1f", version="0x1f"),
        package("on", version="2023e05"),
        wheel,
        *(package("numpy", platform) for platform in PLATFORMS if platform != "linux-64"),
    ]
    return Lock(
        packages=tuple(packages),
        platforms=PLATFORMS,
        channels=spec.channels,
        content_hash=content_hashes(spec, MACHINES),
        target=Target(
            torch="2.0.1",
            cuda=CudaVersion(11, 8),
            cudnn="8.7.0",
            python="3.10",
            source="pytorch",
            architectures=("8.0", "9.0+PTX"),
        ),
        inputs_digest="ab" * 32,
        metadata={"note": "two\nlines: yes"},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of one environment, as we write it."""
    text = environment(CASES["comments"])
    (tmp_path / "environment.yml").write_text(text)
    (tmp_path / "virtual-packages.yml").write_text(virtual_packages_yml.write(MACHINES))
    (tmp_path / "conda-lock.yml").write_text(conda_lock_yml.write(example_lock(text)))
    (tmp_path / "names.json").write_text("{}")
    return tmp_path


def test_conda_lock_parses_our_lock(folder: Path) -> None:
    from conda_lock.lockfile import parse_conda_lock_file

    parsed = parse_conda_lock_file(folder / "conda-lock.yml")

    ours = conda_lock_yml.read((folder / "conda-lock.yml").read_text(), "conda-lock.yml")
    assert {(p.platform, p.name, p.manager, p.version, p.url) for p in parsed.package} == {
        (p.platform, p.name, p.manager, p.version, p.url) for p in ours.packages
    }
    [numpy] = [p for p in parsed.package if p.name == "numpy" and p.platform == "linux-64"]
    assert numpy.dependencies == {
        "libblas": ">=3.9.0,<4.0a0 *mkl",
        "python_abi": "3.10.* *_cp310",
    }
    assert parsed.metadata.custom_metadata is not None
    assert parsed.metadata.custom_metadata["note"] == "two\nlines: yes"
    assert parsed.metadata.custom_metadata["envforge.target.cuda"] == "11.8"


def conda_lock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command; `conda` is a stand-in that knows its version and solves nothing."""
    conda = folder / "conda"
    conda.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "conda 0 (stand-in)" && exit 0\nexit 9\n'
    )
    conda.chmod(0o755)
    return subprocess.run(
        [sys.executable, "-m", "conda_lock", *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


CHECK = (
    "lock",
    "--conda",
    "./conda",
    "--check-input-hash",
    "--pypi_to_conda_lookup_file",
    "names.json",
)


def test_check_input_hash_finds_our_lock_current(folder: Path) -> None:
    """Run in the folder, as a user does: environment.yml comes from `metadata.sources`."""
    before = (folder / "conda-lock.yml").read_bytes()

    done = conda_lock(folder, *CHECK)

    assert done.returncode == 0, done.stderr
    assert f"Spec hash already locked for {sorted(PLATFORMS)}. Skipping solve." in done.stderr
    assert (folder / "conda-lock.yml").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("environment.yml", "numpy=1.26.4", "numpy=1.26.3"),
        ("virtual-packages.yml", "11.8", "12.1"),
    ],
)
def test_check_input_hash_finds_a_change(folder: Path, file: str, old: str, new: str) -> None:
    """The counterpart: without it the test above could not fail."""
    path = folder / file
    path.write_text(path.read_text().replace(old, new))

    done = conda_lock(folder, *CHECK)

    assert done.returncode != 0
    assert "Locking dependencies" in done.stderr


def test_conda_lock_renders_our_addresses(folder: Path) -> None:
    done = conda_lock(folder, "render", "--kind", "explicit", "--platform", "linux-64")

    assert done.returncode == 0, done.stderr
    lines = (folder / "conda-linux-64.lock").read_text().splitlines()
    lock = conda_lock_yml.read((folder / "conda-lock.yml").read_text(), "conda-lock.yml")
    locked = lock.for_platform("linux-64")
    conda = {f"{item.url}#{item.md5}" for item in locked if item.manager == "conda"}
    wheels = {f"# pip {p.name} @ {p.url}#sha256={p.sha256}" for p in locked if p.manager == "pip"}
    assert {line for line in lines if line.startswith("https:")} == conda
    assert {line for line in lines if line.startswith("# pip")} == wheels


def test_rattler_reads_our_lock(folder: Path) -> None:
    """All records, with the build strings of their dependencies."""
    import rattler

    lock_file = rattler.LockFile.from_path(folder / "conda-lock.yml")

    [(_, environment_)] = lock_file.environments()
    names = set()
    for platform in environment_.platforms():
        for item in environment_.packages(platform) or ():
            names.add((str(platform), item.name))
            if item.name == "numpy" and str(platform) == "linux-64":
                assert "python_abi 3.10.* *_cp310" in item.package_record.depends
                assert item.hashes.sha256.hex() == "12e" + "5" * 61
    lock = conda_lock_yml.read((folder / "conda-lock.yml").read_text(), "conda-lock.yml")
    assert names == {(item.platform, item.name) for item in lock.packages}


def test_pyyaml_reads_what_we_read(folder: Path) -> None:
    """The fast reader against a plain YAML reading of the same bytes."""
    text = (folder / "conda-lock.yml").read_text()

    plain = yaml.safe_load(text)

    lock = conda_lock_yml.read(text, "conda-lock.yml")
    assert [
        (p["name"], p["version"], p["url"], p["hash"].get("md5", ""), p["hash"]["sha256"])
        for p in plain["package"]
    ] == [(p.name, p.version, p.url, p.md5, p.sha256) for p in lock.packages]
