"""The probe in real interpreters: good ones, chatty ones, and those that crash or hang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.stub_driver import stub_driver

from envforge.adapters.process import RealProcesses
from envforge.adapters.python_probe import PythonProbe
from envforge.model.finding import Level
from envforge.verify.facts import ProbeFacts
from envforge.verify.probe_document import find_document

PROBE = Path(__file__).parents[2] / "envforge" / "verify" / "probe.py"

FAKE_TORCH = """
import types
__version__ = "2.0.1"
version = types.SimpleNamespace(cuda={cuda!r}, hip=None, git_version="abc")
_C = types.SimpleNamespace(
    _cuda_getArchFlags=lambda: "sm_80 sm_90 compute_90",
    _cudnn=types.SimpleNamespace(
        getCompileVersion=lambda: (8, 7, 0), getRuntimeVersion=lambda: (8, 5, 0)
    ),
)
def _refuse():
    raise RuntimeError("cuDNN version incompatibility")
backends = types.SimpleNamespace(cudnn=types.SimpleNamespace(version=_refuse))
def _available():
    import warnings
    print("torch says hello")
    warnings.warn("CUDA initialization: error 999")
    return False
cuda = types.SimpleNamespace(
    is_available=_available,
    device_count=lambda: 1,
    nccl=types.SimpleNamespace(version=lambda: (2, 14, 3)),
    set_device=lambda device: None,
    get_device_properties=lambda device: types.SimpleNamespace(
        name="Fake GPU", major=9, minor=0, total_memory=1 << 30
    ),
)
int64 = "int64"
def arange(*given, **named):
    {arange}
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment without anything in it."""
    folder = tmp_path_factory.mktemp("venv") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def put_torch(environment: Path, text: str) -> Path:
    [site] = environment.glob("lib/python3*/site-packages")
    (site / "torch").mkdir(exist_ok=True)
    (site / "torch" / "__init__.py").write_text(text)
    return environment / "bin" / "python"


def ask(
    interpreter: Path | str, level: Level = "import", timeout: float = 30, **env: str
) -> ProbeFacts:
    probe = PythonProbe(RealProcesses())
    return probe.run(interpreter, level=level, environment={**os.environ, **env}, timeout=timeout)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_what_torch_says_and_loads(environment: Path) -> None:
    """Version, CUDA, cuDNN, architectures and libraries; its chatter is no harm."""
    python = put_torch(environment, FAKE_TORCH.format(cuda="11.8", arange="pass"))

    facts = ask(python)

    assert facts.failure is None
    assert facts.prefix == str(environment)
    torch = facts.torch
    assert torch is not None
    assert torch.ending.is_good
    assert (torch.version, torch.cuda, torch.nccl) == ("2.0.1", "11.8", "2.14.3")
    assert (torch.cudnn_compiled, torch.cudnn_loaded) == ("8.7.0", "8.5.0")
    assert torch.cudnn_error == "cuDNN version incompatibility"
    assert torch.architectures == ("sm_80", "sm_90", "compute_90")
    assert torch.available is False
    assert torch.warnings == ("CUDA initialization: error 999",)
    assert any("libc.so" in path for path in torch.libraries)
    assert facts.devices == ()


def test_an_import_that_fails_is_told_by_its_message(environment: Path) -> None:
    """With the end of the traceback."""
    python = put_torch(environment, "raise ImportError('libcudart.so.11.0: cannot open')")

    torch = ask(python).torch

    assert torch is not None
    assert torch.version is None
    assert torch.ending.ended == "error"
    assert torch.ending.message == "ImportError: libcudart.so.11.0: cannot open"
    assert "Traceback" in torch.ending.trace
    assert torch.libraries


@pytest.mark.parametrize(
    ("body", "ended"),
    [
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
        ("import os; os._exit(3)", "status 3"),
        ("raise SystemExit(4)", "error"),
        ("import time; time.sleep(60)", "timeout"),
    ],
)
def test_an_import_that_ends_badly_is_survived(environment: Path, body: str, ended: str) -> None:
    """The probe still answers, with how it ended and at which stage."""
    python = put_torch(environment, body)

    begun = time.monotonic()
    torch = ask(python, timeout=1).torch

    assert torch is not None
    assert (torch.ending.ended, torch.ending.stage) == (ended, "import torch")
    assert time.monotonic() - begun < 10


def test_what_was_found_before_a_hang_is_kept(environment: Path) -> None:
    """is_available() hangs, and the version is known all the same."""
    text = FAKE_TORCH.format(cuda=None, arange="pass")
    python = put_torch(
        environment, text + "\nimport time\ncuda.is_available = lambda: time.sleep(60)"
    )

    torch = ask(python, timeout=1).torch

    assert torch is not None
    assert (torch.version, torch.ending.ended) == ("2.0.1", "timeout")
    assert torch.ending.stage == "ask is_available()"


@pytest.mark.parametrize(
    ("arange", "ended", "words"),
    [
        ("raise RuntimeError('CUDA error: no kernel image')", "error", "no kernel image"),
        ("import os; os.kill(os.getpid(), 6)", "signal 6", ""),
        ("import time; time.sleep(60)", "timeout", ""),
    ],
)
def test_each_device_is_tried_in_a_child_of_its_own(
    environment: Path, arange: str, ended: str, words: str
) -> None:
    """A GPU that fails says how, and what it is."""
    python = put_torch(environment, FAKE_TORCH.format(cuda="11.8", arange=arange))

    facts = ask(python, "live", timeout=1)

    assert [run.device for run in facts.devices] == ["cpu", "cuda:0"]
    [gpu] = facts.gpus
    assert (gpu.ending.ended, gpu.ending.stage) == (ended, "kernel")
    assert words in gpu.ending.message
    assert gpu.name == "Fake GPU"
    assert str(gpu.capability) == "9.0"
    assert gpu.kernel_right is None


def test_a_chatty_interpreter_is_understood(tmp_path: Path) -> None:
    """What is printed at start-up and at exit is not the document."""
    chatty = script(tmp_path / "python", f'echo "{{}} welcome"; "{sys.executable}" "$@"; echo bye')
    assert ask(chatty).python == ".".join(str(part) for part in sys.version_info[:3])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kill -SEGV $$", "ended by signal 11"),
        ("echo oh no >&2; exit 7", "status 7: oh no"),
        ("exit 0", "without an answer"),
    ],
)
def test_an_interpreter_that_says_nothing(tmp_path: Path, text: str, why: str) -> None:
    """It is told how it ended."""
    assert why in (ask(script(tmp_path / "python", text)).failure or "")


def test_an_interpreter_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the time limit."""
    monkeypatch.setattr("envforge.adapters.python_probe._GRACE", 0.1)
    facts = ask(script(tmp_path / "python", "exec sleep 60"), timeout=0.1)
    assert "no answer within" in (facts.failure or "")


def test_an_interpreter_of_another_platform(tmp_path: Path) -> None:
    """Or one that is no program at all, or not there."""
    alien = tmp_path / "python"
    alien.write_bytes(b"MZ\x90\x00not for this machine")
    alien.chmod(0o755)
    assert "exec format error" in (ask(alien).failure or "")
    alien.chmod(0o644)
    assert "permission denied" in (ask(alien).failure or "")
    assert "not installed" in (ask(tmp_path / "absent").failure or "")


def test_variables_that_lead_python_astray_are_scrubbed(environment: Path, tmp_path: Path) -> None:
    """The prefix is tried, not what PYTHONPATH or a home directory offer."""
    put_torch(environment, FAKE_TORCH.format(cuda=None, arange="pass"))
    (tmp_path / "torch.py").write_text("raise ImportError('the wrong one')")
    python = environment / "bin" / "python"

    facts = ask(python, PYTHONPATH=str(tmp_path), PYTHONHOME="/nonexistent")

    assert facts.torch is not None
    assert facts.torch.version == "2.0.1"


def test_it_works_piped_and_tells_of_the_driver() -> None:
    """`ssh host python3 - < probe.py`: no file of its own."""
    done = subprocess.run(
        [sys.executable, "-I", "-", "--level", "static", "--driver"],
        input=PROBE.read_text(),
        env={**os.environ, **stub_driver(driver="535.1.2")},
        capture_output=True,
        text=True,
        check=True,
    )
    document = find_document(done.stdout)
    assert document is not None
    assert document["driver"]["nvml"]["driver"] == "535.1.2"
    assert document["driver"]["cuda"]["gpus"][0]["capability"] == [9, 0]


def test_the_time_for_everything_is_limited(environment: Path) -> None:
    """A child that would begin after the deadline does not."""
    python = put_torch(environment, "import time; time.sleep(60)")
    done = subprocess.run(
        [python, "-I", PROBE, "--level", "import", "--deadline", "0"],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    document = find_document(done.stdout)
    assert document is not None
    assert document["torch"]["ended"] == "timeout"


def test_it_parses_as_python_3_8() -> None:
    """The oldest interpreter of an environment that it must run in."""
    import ast

    ast.parse(PROBE.read_text(), feature_version=(3, 8))


@pytest.mark.slow
def test_real_torch() -> None:
    """Import and CPU level for real, with ENVFORGE_TEST_TORCH_PYTHON=/path/of/python."""
    python = os.environ.get("ENVFORGE_TEST_TORCH_PYTHON")
    if not python:
        pytest.skip("ENVFORGE_TEST_TORCH_PYTHON names no interpreter with torch")

    facts = ask(python, "live", timeout=120)

    assert facts.torch is not None
    assert facts.torch.ending.is_good, facts.torch.ending
    assert any("libtorch" in path for path in facts.torch.libraries)
    for run in facts.devices:
        assert run.kernel_right, run
        assert run.matmul_right, run


def test_the_document_is_json_in_ascii(environment: Path) -> None:
    """Whatever encoding the interpreter's standard output has."""
    python = put_torch(environment, "raise ImportError('ünïcode')")
    done = subprocess.run(
        [python, "-I", PROBE, "--level", "import"], capture_output=True, check=True
    )
    assert done.stdout.isascii()
    document = find_document(done.stdout.decode("ascii"))
    assert json.dumps(document)
    assert document is not None
    assert "ünïcode" in document["torch"]["error"]["message"]
