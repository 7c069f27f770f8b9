"""From a request to a choice, or to an error that says what to do instead."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.errors import (
    DriverTooOld,
    InvalidValue,
    MatrixError,
    NoKernelsForGpu,
    NoMatchingBuild,
)
from envforge.matrix import Matrix, choose, described, load, verdict
from envforge.matrix.existing import cells
from envforge.model.choice import Choice
from envforge.model.cuda import CudaVersion
from envforge.model.machine import PLATFORMS, Driver, Gpu, Machine
from envforge.model.spec import SOURCES, Request

Describe = Callable[..., Machine]
Ask = Callable[..., Request]


def _facts(choice: Choice) -> str:
    cuda = choice.cuda or "cpu"
    return f"{choice.torch} {cuda} {choice.source} {choice.python}"


@pytest.mark.parametrize(
    ("torch", "cuda", "fields", "expected"),
    [
        ("2.0.1", "11.8", {}, "2.0.1 11.8 pytorch 3.10"),
        ("2.0", "11.8", {}, "2.0.1 11.8 pytorch 3.10"),
        ("2.0", "12.0", {}, "2.0.0 12.0 conda-forge 3.10"),  # the newest patch that has it
        ("v2.0.1", "cu118", {}, "2.0.1 11.8 pytorch 3.10"),
        ("torch==2.0.1", "11.8", {}, "2.0.1 11.8 pytorch 3.10"),
        ("1.13.1", "11.7", {}, "1.13.1 11.7 pytorch 3.10"),
        ("2.5.1", "12.6", {}, "2.5.1 12.6 conda-forge 3.12"),
        ("2.7.1", "12.6", {}, "2.7.1 12.6 conda-forge 3.13"),
        ("2.7.1", "12.8", {}, "2.7.1 12.8 wheels 3.13"),
        ("2.7.1", "11.8", {}, "2.7.1 11.8 wheels 3.13"),
        ("2.12.1", "13.0", {}, "2.12.1 13.0 conda-forge 3.14"),
        ("latest", "cpu", {}, "2.15.0 cpu wheels 3.14"),
        ("latest", "11.8", {}, "2.7.1 11.8 wheels 3.13"),
        ("latest", "cpu", {"source": "pytorch"}, "2.5.1 cpu pytorch 3.12"),
        ("latest", "cpu", {"source": "conda-forge"}, "2.13.0 cpu conda-forge 3.14"),
        ("latest", "12.9", {"platforms": ("linux-64", "win-64")}, "2.9.0 12.9 wheels 3.13"),
        ("2.6.0", "12.6", {}, "2.6.0 12.6 conda-forge 3.12"),
        ("2.6.0", "12.6", {"source": "wheels"}, "2.6.0 12.6 wheels 3.12"),
        ("2.0.1", "11.8", {"python": "3.11"}, "2.0.1 11.8 pytorch 3.11"),
        ("2.0.1", "11.8", {"python": "3.10.14"}, "2.0.1 11.8 pytorch 3.10.14"),
        ("2.1.0", "12.1", {"python": "3.11.9"}, "2.1.0 12.1 pytorch 3.11.9"),
        ("2.4.1", "cpu", {"platforms": ("osx-arm64",)}, "2.4.1 cpu pytorch 3.11"),
        ("2.5.1", "cpu", {"platforms": PLATFORMS}, "2.5.1 cpu conda-forge 3.12"),
        ("latest", "auto", {}, "2.15.0 cpu wheels 3.14"),
    ],
)
def test_choice(  # noqa: PLR0917 - one column each
    torch: str, cuda: str, fields: dict[str, Any], expected: str, matrix: Matrix, request_for: Ask
) -> None:
    assert _facts(choose(request_for(torch, cuda, **fields), None, matrix=matrix)) == expected


def test_everything_a_choice_says(matrix: Matrix, request_for: Ask) -> None:
    choice = choose(request_for("2.0", "11.8"), None, matrix=matrix)
    assert choice.cudnn == "8.7.0"
    assert choice.metapackage == "pytorch-cuda"
    assert choice.min_driver == "450.80.02"
    assert choice.other_pythons == ("3.9", "3.8", "3.11")
    assert choice.companions["torchvision"] == "0.15.2"
    assert choice.wheel_label is None
    assert "9.0" in choice.architectures
    assert {item.package for item in choice.constraints} == {"mkl", "numpy", "setuptools"}
    notes = "\n".join(choice.notes)
    assert "torch 2.0.1: the newest release of `2.0`" in notes
    assert "source pytorch: the pytorch channel has torch 2.0.1 built for CUDA 11.8" in notes
    assert "python 3.10:" in notes
    assert "3.11 exists too" in notes

    wheel = choose(request_for("2.7.1", "12.8"), None, matrix=matrix)
    assert (wheel.wheel_label, wheel.metapackage, wheel.min_glibc) == ("cu128", None, "2.28")
    assert (
        choose(request_for("2.7.1", "cpu", source="wheels"), None, matrix=matrix).wheel_label
        == "cpu"
    )
    new = choose(request_for("2.12.1", "13.0"), None, matrix=matrix)
    assert (new.metapackage, new.min_glibc, new.companions) == ("cuda-version", "2.28", {})
    assert choose(
        request_for("2.4.0", "11.8", source="conda-forge"), None, matrix=matrix
    ).metapackage == ("cudatoolkit")


@pytest.mark.parametrize(
    ("torch", "cuda", "fields", "note"),
    [
        ("2.7.1", "12.8", {}, "the pytorch channel ended with 2.5.1"),
        ("2.7.1", "12.8", {}, "conda-forge has it for CUDA 12.6 and 12.9, and for CPU"),
        ("2.14.1", "13.0", {}, "what conda-forge has of it is not in our tables yet"),
        (
            "2.5.1",
            "cpu",
            {"platforms": PLATFORMS},
            "the pytorch channel lacks one of the platforms",
        ),
        ("2.1.0", "11.8", {"python": "3.12"}, "does not fit this Python or machine"),
        ("2.0.1", "11.8", {"python": "3.11"}, "torch.compile does not work on Python 3.11"),
        ("2.6.0", "12.6", {"source": "wheels"}, "does not name the CUDA libraries"),
        (
            "latest",
            "11.8",
            {},
            "2.7.1: the newest of `latest` that meets the rest; 2.15.0 does not",
        ),
        ("latest", "auto", {}, "no machine was looked at"),
        ("2.9.0", "12.9", {}, "conda-forge never built it"),
    ],
)
def test_notes(  # noqa: PLR0917 - one column each
    torch: str, cuda: str, fields: dict[str, Any], note: str, matrix: Matrix, request_for: Ask
) -> None:
    choice = choose(request_for(torch, cuda, **fields), None, matrix=matrix)
    assert note in "\n".join(choice.notes)


def test_nothing_is_noted_about_what_was_asked_for(matrix: Matrix, request_for: Ask) -> None:
    request = request_for("2.1.2", "11.8", python="3.11", source="pytorch")
    assert choose(request, None, matrix=matrix).notes == ()


@pytest.mark.parametrize(
    ("driver", "gpus", "torch", "expected"),
    [
        ("535.104.05", ["H200"], "latest", "2.14.1 12.6"),
        ("580.65.06", ["H200"], "latest", "2.15.0 13.2"),
        ("580.65.06", ["H200"], "2.13.0", "2.13.0 13.2"),
        ("580.65.06", ["V100"], "latest", "2.14.1 12.6"),
        ("580.65.06", ["V100"], "2.11.0", "2.11.0 12.9"),
        ("470.82.01", ["A100"], "latest", "2.7.1 11.8"),
        ("450.80.02", ["V100"], "1.13.1", "1.13.1 11.7"),
        ("580.65.06", ["B200", "T4"], "2.8.0", "2.8.0 12.9"),
        ("580.65.06", [], "2.8.0", "2.8.0 12.9"),
        (None, ["H100"], "2.0.1", "2.0.1 11.8"),
        ("580.65.06", ["H200"], "2.6.0", "2.6.0 12.6"),
    ],
)
def test_auto_takes_the_newest_that_driver_and_every_gpu_run(  # noqa: PLR0917
    driver: str | None,
    gpus: list[str],
    torch: str,
    expected: str,
    matrix: Matrix,
    machine: Describe,
    request_for: Ask,
) -> None:
    choice = choose(request_for(torch, "auto"), machine(driver, *gpus), matrix=matrix)
    assert f"{choice.torch} {choice.cuda}" == expected
    assert any(note.startswith(f"CUDA {choice.cuda}:") for note in choice.notes)


def test_auto_prefers_a_build_whose_code_is_recorded(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    """2.6.0: the cu126 wheel's architectures are unknown, and it lacks its libraries besides."""
    request = request_for("2.6.0", "auto", source="wheels")
    assert str(choose(request, machine("580.65.06", "H200"), matrix=matrix).cuda) == "12.4"


def test_auto_is_cpu_without_a_gpu_and_with_a_mac(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    bare = choose(request_for("2.5.1", "auto"), Machine(), matrix=matrix)
    assert bare.cuda is None
    assert "no NVIDIA driver here" in "\n".join(bare.notes)
    mixed = request_for("2.5.1", "auto", platforms=("linux-64", "osx-arm64"))
    both = choose(mixed, machine("580.65.06", "H200"), matrix=matrix)
    assert both.cuda is None
    assert "one of the platforms has no CUDA" in "\n".join(both.notes)


def test_auto_never_falls_to_the_cpu_where_there_is_a_gpu(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    with pytest.raises(DriverTooOld) as caught:
        choose(request_for("2.11.0", "auto"), machine("470.82.01", "A100"), matrix=matrix)
    assert caught.value.cuda == "12.6"  # the one that is nearest to running
    assert any("--torch 2.7.1 --cuda auto" in line for line in caught.value.nearest)


def test_minor_version_compatibility_is_told(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    choice = choose(request_for("2.5.1", "12.4"), machine("535.104.05", "H200"), matrix=matrix)
    assert "is made for CUDA 12.2, and runs CUDA 12.4 by minor-version" in "\n".join(choice.notes)


def test_unrecorded_kernels_are_told(matrix: Matrix, machine: Describe, request_for: Ask) -> None:
    choice = choose(request_for("2.15.0", "13.2"), machine("600.10", "H200"), matrix=matrix)
    assert "nobody recorded which GPUs" in "\n".join(choice.notes)


def test_old_gpus_and_a_new_cudnn_are_told(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    request = request_for("2.10.0", "12.9", source="conda-forge")
    old = choose(request, machine("600.10", "V100"), matrix=matrix)
    assert 'add `--with "cudnn<9.11"`' in "\n".join(old.notes)
    new = choose(request, machine("600.10", "H200"), matrix=matrix)
    assert "cudnn" not in "\n".join(new.notes)


def test_a_source_without_kernels_is_passed_over(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    """Kepler 3.5: the pytorch channel starts at 3.7, conda-forge at 3.5."""
    request = request_for("2.0.0", "11.8")
    assert choose(request, None, matrix=matrix).source == "pytorch"
    assert choose(request, machine("520.61.05", "K40"), matrix=matrix).source == "conda-forge"


def test_force_chooses_what_does_not_run(
    matrix: Matrix, machine: Describe, request_for: Ask
) -> None:
    old = machine("470.82.01", "A100")
    choice = choose(request_for("2.11.0", "13.0"), old, matrix=matrix, check_machine=False)
    assert _facts(choice) == "2.11.0 13.0 conda-forge 3.14"
    auto = choose(request_for("2.11.0", "auto"), old, matrix=matrix, check_machine=False)
    assert auto.cuda == CudaVersion(12, 6)


def test_the_interpreter_that_runs_us(matrix: Matrix, request_for: Ask) -> None:
    request = request_for("2.13.0", "cpu", python="host")
    choice = choose(request, None, matrix=matrix, host_python="3.11.7")
    assert (choice.python, choice.source, choice.other_pythons) == ("host", "wheels", ())
    assert "the interpreter that runs envforge" in "\n".join(choice.notes)
    with pytest.raises(NoMatchingBuild, match=r"for Python 3\.9"):
        choose(request, None, matrix=matrix, host_python="3.9.2")
    with pytest.raises(ValueError, match="host"):
        choose(request, None, matrix=matrix)


@pytest.mark.parametrize(
    ("torch", "cuda", "fields", "words"),
    [
        ("2", "11.8", {}, ["major version only", "`latest`", "`2.15`", "`2.15.0`"]),
        ("2.0.1+cu118", "11.8", {}, ["names a build", "--torch 2.0.1"]),
        ("abc", "cpu", {}, ["not a version of torch"]),
        ("", "cpu", {}, ["not a version of torch"]),
        ("2.0.1", "11.8", {"platforms": ("osx-arm64",)}, ["has no CUDA", "--cuda cpu"]),
        ("2.0.1", "cpu", {"platforms": ("linux-32",)}, ["linux-64, linux-aarch64"]),
        ("2.0.1", "cpu", {"python": "3"}, ["3.11"]),
        ("2.0.1", "cpu", {"python": "py310"}, ["3.11"]),
        ("2.0.1", "cpu", {"python": "host", "source": "pytorch"}, ["--source wheels"]),
    ],
)
def test_what_cannot_be_meant(  # noqa: PLR0917 - one column each
    torch: str,
    cuda: str,
    fields: dict[str, Any],
    words: list[str],
    matrix: Matrix,
    request_for: Ask,
) -> None:
    with pytest.raises(InvalidValue) as caught:
        choose(request_for(torch, cuda, **fields), None, matrix=matrix)
    assert caught.value.exit_code == 2
    for word in words:
        assert word in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("torch", "cuda", "fields", "reason", "command"),
    [
        ("2.0.5", "11.8", {}, "the releases are 2.0.0 and 2.0.1", "--torch 2.0.1 --cuda 11.8"),
        ("9.9", "cpu", {}, "the newest release we know is 2.15.0", "--torch 2.15.0 --cuda cpu"),
        ("1.4.0", "cpu", {}, "the oldest release we know is 1.8.0", "--torch 1.8.1 --cuda cpu"),
        ("1.14", "cpu", {}, "there is no such release", "--torch 1.13.1 --cuda cpu"),
        ("2.0.1", "12.4", {}, "published for CUDA 11.7 and 11.8, and for CPU", "--cuda 11.8"),
        ("2.0.1", "12.4", {}, "published for CUDA 11.7 and 11.8", "--torch 2.4.1 --cuda 12.4"),
        ("latest", "9.2", {}, "it was published for", "--torch latest --cuda 10.1"),
        ("2.0.1", "11.8", {"python": "3.12"}, "Python 3.8, 3.9, 3.10 and 3.11", "--python 3.10"),
        ("2.15.0", "cpu", {"python": "3.10"}, "built for Python 3.11", "--python 3.11"),
        ("2.0.1", "11.8", {"source": "conda-forge"}, "never built this torch", "--torch 2.0.0"),
        ("2.7.1", "12.6", {"source": "pytorch"}, "ended with torch 2.5.1", "--cuda 12.6"),
        ("2.14.1", "13.0", {"source": "conda-forge"}, "not in our tables yet", "--torch 2.13.0"),
        ("2.1.2", "12.1", {"source": "conda-forge"}, "for CUDA 11.2, 11.8 and 12.0", "12.0"),
        ("2.0.1", "11.8", {"platforms": ("linux-aarch64",)}, "only for linux-64", "--cuda cpu"),
        (
            "2.7.1",
            "12.9",
            {"platforms": ("linux-64", "win-64")},
            "none for win-64",
            "--platform linux-64 --platform win-64",
        ),
        ("2.1.0", "11.8", {"python": "3.12", "platforms": ("win-64",)}, "", "--platform win-64"),
    ],
)
def test_what_was_never_published(  # noqa: PLR0917
    torch: str,
    cuda: str,
    fields: dict[str, Any],
    reason: str,
    command: str,
    matrix: Matrix,
    request_for: Ask,
) -> None:
    with pytest.raises(NoMatchingBuild) as caught:
        choose(request_for(torch, cuda, **fields), None, matrix=matrix)
    assert caught.value.exit_code == 3
    assert reason in str(caught.value)
    assert command in str(caught.value.hint)


def test_no_one_source_has_everything(matrix: Matrix, request_for: Ask) -> None:
    """3.13 for torch 2.5.1 and CUDA 11.8: the wheels only on Linux, nobody on Windows."""
    request = request_for("2.5.1", "11.8", python="3.13", platforms=("linux-64", "win-64"))
    with pytest.raises(NoMatchingBuild, match="no source carries it for all of this at once"):
        choose(request, None, matrix=matrix)


def test_driver_too_old(matrix: Matrix, machine: Describe, request_for: Ask) -> None:
    with pytest.raises(DriverTooOld) as caught:
        choose(request_for("2.11.0", "13.0"), machine("535.104.05", "H200"), matrix=matrix)
    error = caught.value
    assert (error.driver, error.cuda, error.minimum) == ("535.104.05", "13.0", "580")
    assert error.nearest[0] == (
        "envforge create nlp-bert --torch 2.11.0 --cuda 12.9 --driver 535.104.05 --gpu H200"
    )


def test_no_kernels(matrix: Matrix, machine: Describe, request_for: Ask) -> None:
    with pytest.raises(NoKernelsForGpu) as caught:
        choose(
            request_for("1.13.1", "11.7"),
            machine("535.104.05", "H200"),
            matrix=matrix,
            command="lock",
        )
    error = caught.value
    assert "CUDA 11.7 is older than this GPU" in str(error)
    assert [line.split(" --driver")[0] for line in error.nearest] == [
        "envforge lock nlp-bert --torch 2.0.1 --cuda 11.8",
        "envforge lock nlp-bert --torch 2.14.1 --cuda 12.6",
    ]


def test_a_preflight_takes_milliseconds(matrix: Matrix, request_for: Ask) -> None:
    """Generous for a busy machine: a quiet one needs about half a millisecond."""
    request = request_for("2.0.1", "11.8")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        choose(request, None, matrix=matrix)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


MATRIX = load()
CAPABILITIES = [row.capability for row in MATRIX.architectures]
TORCHES = [row.torch for row in MATRIX.releases]
MACHINES = st.builds(
    Machine,
    driver=st.none() | st.integers(418, 620).map(lambda number: Driver(version=f"{number}.80.02")),
    gpus=st.lists(
        st.sampled_from(CAPABILITIES).map(lambda c: Gpu(name=f"sm {c}", capability=c)), max_size=2
    ).map(tuple),
)
REQUESTS = st.builds(
    Request,
    project=st.just("x"),
    torch=st.sampled_from(["latest", "2.0", "2.7", "1.13", *TORCHES]),
    cuda=st.sampled_from(["auto", None, *MATRIX.cudas]),
    python=st.sampled_from([None, "3.9", "3.10", "3.11", "3.12", "3.14.1"]),
    source=st.sampled_from(["auto", *SOURCES]),
    platforms=st.lists(st.sampled_from(PLATFORMS), min_size=1, max_size=3, unique=True).map(tuple),
)


@settings(deadline=None)  # other tests share the processor
@given(request=REQUESTS, machine=MACHINES)
def test_a_choice_exists_and_runs_and_an_error_suggests_what_does(
    request: Request, machine: Machine
) -> None:
    try:
        choice = choose(request, machine, matrix=MATRIX)
    except InvalidValue:
        assert request.cuda
        assert "osx-arm64" in request.platforms
        return
    except MatrixError as error:
        for line in error.nearest:  # type: ignore[attr-defined]
            _assert_answers(line, machine)
        return
    minor = ".".join((request.python or choice.python).split(".")[:2])
    assert list(
        cells(
            choice.torch,
            choice.cuda,
            MATRIX,
            platforms=request.platforms,
            python=minor,
            sources=(choice.source,),
        )
    )
    if choice.cuda and (machine.driver or machine.gpus):
        platform = min(request.platforms, key=PLATFORMS.index)
        assert verdict(choice.cuda, choice.architectures, machine, MATRIX, platform).runs
    if request.cuda not in {"auto", None}:
        assert choice.cuda == request.cuda
    if request.cuda is None:
        assert choice.cuda is None


def _as_typed(text: str) -> CudaVersion | Literal["auto"] | None:
    if text == "auto":
        return "auto"
    return None if text == "cpu" else CudaVersion.parse(text)


def _assert_answers(line: str, machine: Machine) -> None:
    words = shlex.split(line)
    options: dict[str, list[str]] = {}
    for name, value in zip(words[3::2], words[4::2], strict=True):
        options.setdefault(name, []).append(value)
    [cuda] = options["--cuda"]
    choose(
        Request(
            project=words[2],
            torch=options["--torch"][0],
            cuda=_as_typed(cuda),
            python=options.get("--python", [None])[0],
            source=options.get("--source", ["auto"])[0],  # type: ignore[arg-type]
            platforms=tuple(options.get("--platform", ["linux-64"])),  # type: ignore[arg-type]
        ),
        machine,
        matrix=MATRIX,
    )


def test_described_machines_reach_the_choice(matrix: Matrix, request_for: Ask) -> None:
    machine = described("535.104.05", ["h200"], matrix)
    assert choose(request_for("2.0.1", "11.8"), machine, matrix=matrix).source == "pytorch"
