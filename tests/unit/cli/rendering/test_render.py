"""How answers look: documents that other programs read, and text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.installing import as_installed, conda_package, wheel

from envforge.cli.rendering import render
from envforge.cli.rendering.shown import as_json
from envforge.model.cuda import CudaVersion
from envforge.model.finding import Outcome, Report
from envforge.model.lock import Lock, LockedPackage, Target
from envforge.model.prefix import (
    InstalledPackage,
    InstallPlan,
    InstallResult,
    PrefixState,
    SpaceForecast,
)
from envforge.model.results import CreateResult, EnvironmentInfo, LockResult, PlannedInstall
from envforge.model.template import Template, TemplatePackage

Capture = pytest.CaptureFixture[str]
Golden = Callable[[str, str], None]

NAME = "nlp-bert-torch20-cu118"
FOLDER = Path("/srv/lab/envs") / NAME
PREFIX = Path("/srv/conda/envs") / NAME
PYTHON = conda_package("python", "3.10.14", "hd12c33a_0", md5="0" * 32, size=30_000_000)
TORCH = conda_package("pytorch", "2.0.1", "py3.10_cuda11.8_cudnn8.7.0_0", md5="1" * 32)
EINOPS = wheel("einops", "0.8.0")
TARGET = Target(
    torch="2.0.1",
    cuda=CudaVersion(11, 8),
    cudnn="8.7.0",
    python="3.10.14",
    source="pytorch",
    min_driver="450.80.02",
    architectures=("7.0", "8.0", "9.0+PTX"),
)
LOCK = Lock(
    packages=tuple(sorted((PYTHON, TORCH, EINOPS))),
    platforms=("linux-64",),
    channels=("nvidia", "conda-forge", "pytorch"),
    content_hash={"linux-64": "c" * 64},
    target=TARGET,
)
LOCKED = LockResult(
    name=NAME,
    folder=FOLDER,
    lock=LOCK,
    files={"environment.yml": "", "virtual-packages.yml": "", "conda-lock.yml": ""},
    notes=("python 3.10: with 3.11 nothing fits together",),
)
OLD_PYTHON = as_installed(conda_package("python", "3.10.13", "h0_0"))
FORECAST = SpaceForecast(
    download_bytes=1_520_000_000,
    cache_bytes=4_800_000_000,
    prefix_bytes=12_000,
    inodes=61_204,
    estimated=2,
)
PLAN = InstallPlan(
    prefix=PREFIX,
    add=(TORCH, EINOPS),
    change=((OLD_PYTHON, PYTHON),),
    remove=(InstalledPackage(name="mkl", manager="conda", version="2024.2"),),
    keep=81,
)
INSTALLED = InstallResult(
    prefix=PREFIX,
    plan=PLAN,
    forecast=FORECAST,
    link_mode="hardlink",
    downloaded=2,
    bytecode="background",
    seconds=12.3456,
    skipped_scripts=("font-ttf",),
)
PLANNED = PlannedInstall(prefix=PREFIX, state=PrefixState.INSTALLED, plan=PLAN, forecast=FORECAST)
REPORT = Report(
    subject=NAME,
    prefix=str(PREFIX),
    level="static",
    outcomes=(Outcome(check="driver-too-old", claim="The driver is new enough", verdict="passed"),),
    proven={"driver": "535.104.05"},
)
INFO = EnvironmentInfo(
    name=NAME,
    folder=FOLDER,
    lock=LOCK,
    prefix=PREFIX,
    state=PrefixState.INSTALLED,
    up_to_date=True,
)
NOT_LOCKED = EnvironmentInfo(name="vit-torch27-cpu", folder=FOLDER, lock=None)
BROKEN = EnvironmentInfo(name="x-torch20-cpu", folder=FOLDER, lock=None, problem="not a mapping")
TEMPLATE = Template(
    name="nlp",
    description="text models",
    packages=(
        TemplatePackage(spec="transformers >=4.48", torch=">=2.6"),
        TemplatePackage(spec="flash-attn", cuda=True, platforms=("linux-64",)),
        TemplatePackage(spec="intel-openmp", cuda=False, sources=("pytorch", "wheels")),
        TemplatePackage(spec="datasets"),
    ),
    variables={"TOKENIZERS_PARALLELISM": "false"},
)


# --- documents: a change of these is a new version of their schema --------------------------


@pytest.mark.parametrize(
    ("command", "document"),
    [
        ("lock", render.lock_document(LOCKED)),
        ("install", render.install_document(INSTALLED)),
        ("install-dry-run", render.planned_document(PLANNED)),
        ("show", render.info_document(INFO, packages=True)),
        ("list", {"environments": [render.info_document(i) for i in (INFO, NOT_LOCKED, BROKEN)]}),
        (
            "create",
            render.create_document(
                CreateResult(name=NAME, lock=LOCKED, install=INSTALLED, report=REPORT)
            ),
        ),
        (
            "create-dry-run",
            render.create_document(CreateResult(name=NAME, lock=LOCKED, planned=PLANNED)),
        ),
    ],
)
def test_documents_are_what_they_were(command: str, document: Any, golden: Golden) -> None:
    golden(f"{command}.json", as_json(command.partition("-dry")[0], document) + "\n")


def test_documents_name_their_schema_first_and_keep_every_letter() -> None:
    text = as_json("show", {"name": "ä"})

    assert text == '{\n  "schema": "envforge.show/1",\n  "name": "ä"\n}'


def test_a_lock_of_another_tool_has_no_target() -> None:
    assert render.target_document(None) is None
    cpu = render.target_document(replace(TARGET, cuda=None))
    assert cpu is not None
    assert cpu["cuda"] is None
    assert json.loads(as_json("x", cpu))["architectures"] == ["7.0", "8.0", "9.0+PTX"]


# --- text -----------------------------------------------------------------------------------


def test_a_lock_in_two_lines(capsys: Capture) -> None:
    render.show_locked(LOCKED)
    assert capsys.readouterr().out == (
        f"locked {FOLDER}: 3 packages for linux-64\n"
        "  torch 2.0.1, CUDA 11.8, cuDNN 8.7.0, python 3.10.14, from pytorch, driver 450.80.02+\n"
    )
    render.show_locked(replace(LOCKED, lock=replace(LOCK, target=None), outcome="planned"))
    assert capsys.readouterr().out == f"would lock {FOLDER}: 3 packages for linux-64\n"


def test_a_target_says_what_binds_it() -> None:
    cpu = replace(TARGET, cuda=None, cudnn=None, min_driver=None, machine_local=True)

    assert render.describe_target(cpu) == (
        "torch 2.0.1, CPU, python 3.10.14, from pytorch, this machine only"
    )


def test_a_plan_with_every_kind_of_change(capsys: Capture) -> None:
    render.show_planned(PLANNED)
    assert capsys.readouterr().out.splitlines() == [
        f"would install into {PREFIX} (installed)",
        "  + pytorch 2.0.1 py3.10_cuda11.8_cudnn8.7.0_0",
        "  + einops 0.8.0",
        "  ~ python 3.10.13 -> 3.10.14",
        "  - mkl 2024.2",
        "  81 packages stay",
        "  download 1.5 GB, cache 4.8 GB, prefix 12.0 kB, 61,204 files (2 sizes estimated)",
    ]
    render.show_planned(replace(PLANNED, forecast=replace(FORECAST, estimated=0)))
    assert capsys.readouterr().out.endswith(" 61,204 files\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "hardlinked from the package cache"),
        ({"link_mode": "reflink"}, "reflinked from the package cache"),
        ({"link_mode": "copy"}, "copied from the package cache (other filesystem)"),
        ({"link_mode": "none"}, "nothing linked"),
        ({"bytecode": "compiled"}, "2 archives fetched, byte-compiled, 12.3 s"),
        ({"bytecode": "skipped"}, "not byte-compiled"),
        ({}, "byte-compiling goes on in the background"),
    ],
)
def test_an_install_says_how_files_came(
    capsys: Capture, changes: dict[str, Any], said: str
) -> None:
    render.show_installed(replace(INSTALLED, **changes))
    out = capsys.readouterr().out

    assert out.startswith(f"installed {PREFIX}: 4 changes, ")
    assert said in out


def test_an_install_that_had_nothing_to_do(capsys: Capture) -> None:
    render.show_installed(replace(INSTALLED, plan=InstallPlan(prefix=PREFIX, keep=84)))

    assert capsys.readouterr().out == f"as locked {PREFIX}: 84 packages\n"


def test_create_ends_with_what_to_type_next(capsys: Capture) -> None:
    """Not where the environment is not fit to be used."""
    good = CreateResult(name=NAME, lock=LOCKED, install=INSTALLED, report=REPORT)
    render.show_created(good)
    assert capsys.readouterr().out.endswith(f"next: envforge run {NAME} -- python\n")
    crashed = Outcome(check="odd", claim="c", verdict="crashed")
    render.show_created(replace(good, report=replace(REPORT, outcomes=(crashed,))))
    assert "next:" not in capsys.readouterr().out
    render.show_created(CreateResult(name=NAME, lock=LOCKED, planned=PLANNED))
    assert "next:" not in capsys.readouterr().out


def test_the_list(capsys: Capture) -> None:
    stale = replace(INFO, name="a-torch20-cpu", stale=("x",), up_to_date=False)
    cpu = replace(
        INFO,
        name="b-torch20-cpu",
        lock=replace(LOCK, target=replace(TARGET, cuda=None)),
        prefix=None,
        state=PrefixState.ABSENT,
    )
    theirs = replace(INFO, name="c-torch20-cpu", lock=replace(LOCK, target=None))
    half = replace(INFO, name="d", state=PrefixState.INCOMPLETE, up_to_date=False)
    render.show_list([INFO, stale, cpu, theirs, half, NOT_LOCKED, BROKEN], "envs")
    out = capsys.readouterr().out

    assert out == (
        "NAME                    TORCH  CUDA  PYTHON   LOCK        INSTALLED\n"
        "nlp-bert-torch20-cu118  2.0.1  11.8  3.10.14  current     installed\n"
        "a-torch20-cpu           2.0.1  11.8  3.10.14  stale       differs from lock\n"
        "b-torch20-cpu           2.0.1  cpu   3.10.14  current     no\n"
        "c-torch20-cpu           -      -     -        current     installed\n"
        "d                       2.0.1  11.8  3.10.14  current     incomplete\n"
        "vit-torch27-cpu         -      -     -        missing     no\n"
        "x-torch20-cpu           ?      ?     ?        unreadable  not a mapping\n"
    )
    assert max(map(len, out.splitlines())) <= 80
    render.show_list([], "envs")
    assert capsys.readouterr().out == "no environments in envs\n"


def shown(capsys: Capture, info: EnvironmentInfo, **how: Any) -> list[str]:
    render.show_info(info, **{"packages": False, "platform": "linux-64", **how})
    return capsys.readouterr().out.splitlines()


def test_one_environment_at_length(capsys: Capture) -> None:
    assert shown(capsys, INFO) == [
        NAME,
        f"  folder     {FOLDER}",
        "  torch      2.0.1, CUDA 11.8, from pytorch",
        "  python     3.10.14",
        "  cuDNN      8.7.0",
        "  driver     450.80.02 or newer",
        "  GPUs       7.0 8.0 9.0+PTX",
        "  packages   3 linux-64",
        "  lock       current",
        f"  installed  {PREFIX} (installed)",
    ]


def test_what_is_not_known_is_said(capsys: Capture) -> None:
    unknown = replace(TARGET, cudnn=None, min_driver=None, architectures=())
    lines = shown(capsys, replace(INFO, lock=replace(LOCK, target=unknown)))

    assert [line.split()[1] for line in lines[4:7]] == ["unknown"] * 3


def test_wheels_and_machine_local_locks_say_so(capsys: Capture) -> None:
    """And a CPU build has neither driver nor GPUs."""
    target = replace(TARGET, cuda=None, source="wheels", wheel_index="site", machine_local=True)
    lines = shown(capsys, replace(INFO, lock=replace(LOCK, target=target)))

    assert [line.split("  ")[1] for line in lines[2:6]] == [
        "torch",
        "python",
        "wheel index",
        "machine-local",
    ]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"stale": ("a", "b")}, ["lock       a; b"]),
        ({"up_to_date": False}, [f"installed  {PREFIX} (installed, not as locked)"]),
        ({"prefix": None, "state": PrefixState.ABSENT}, ["installed  no"]),
        ({"lock": None}, ["lock       missing"]),
        ({"lock": None, "problem": "torn"}, ["problem    torn", "lock       missing"]),
        ({"lock": replace(LOCK, target=None)}, ["packages   3 linux-64", "lock       current"]),
    ],
)
def test_states_of_an_environment(
    capsys: Capture, changes: dict[str, Any], lines: list[str]
) -> None:
    found = [line.strip() for line in shown(capsys, replace(INFO, **changes))]

    assert [line for line in lines if line not in found] == []


def test_packages_of_this_platform(capsys: Capture) -> None:
    other: LockedPackage = replace(PYTHON, platform="win-64")
    lock = replace(LOCK, packages=(*LOCK.packages, other), platforms=("linux-64", "win-64"))
    info = replace(INFO, lock=lock)

    assert shown(capsys, info, packages=True)[-3:] == [
        "  einops 0.8.0 pip",
        "  python 3.10.14 hd12c33a_0",
        "  pytorch 2.0.1 py3.10_cuda11.8_cudnn8.7.0_0",
    ]
    assert shown(capsys, info, packages=True, platform="win-64")[-1] == (
        "  python 3.10.14 hd12c33a_0"
    )
    assert shown(capsys, NOT_LOCKED, packages=True) == shown(capsys, NOT_LOCKED)


def test_a_template_with_its_conditions(capsys: Capture) -> None:
    render.show_template(TEMPLATE)
    assert capsys.readouterr().out.splitlines() == [
        "nlp: text models",
        "  transformers >=4.48  (torch >=2.6)",
        "  flash-attn  (on linux-64; with CUDA)",
        "  intel-openmp  (from pytorch, wheels; without CUDA)",
        "  datasets",
        "  TOKENIZERS_PARALLELISM=false",
    ]
    render.show_templates([TEMPLATE, replace(TEMPLATE, name="science")])
    assert capsys.readouterr().out == "nlp      text models\nscience  text models\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2_340_000_000, "2.3 GB"),
        (40_000_000_000_000, "40.0 TB"),
    ],
)
def test_sizes_for_people(number: int, text: str) -> None:
    assert render.size(number) == text
