"""The probe in real interpreters: good ones, chatty ones, and those that crash or hang."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.stub_driver import stub_driver

from envforge.adapters.prefix.python_probe import PythonProbe
from envforge.adapters.process import RealProcesses
from envforge.model.finding import Level
from envforge.verify.facts import ProbeFacts
from envforge.verify.probe_output import BEGIN, END, HERE, find_document

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
        ("echo 'Unknown option: -I' >&2; exit 2", "Python 2"),
        (f"echo '{BEGIN}'; echo '{{\"torch\": 1}}'; echo '{END}'", "makes no sense"),
        (f"echo '{BEGIN}'; echo '{{\"torch\": '; echo '{END}'", "without an answer"),
        ("echo $0: cannot execute >&2; exec true", "without an answer: "),
        (f'exec "{sys.executable}" "$@" >&-', "standard output was closed"),
        ("cat /dev/zero", "more than 64 MiB of output"),
        ("exec yes 'a line' >&2", "more than 64 MiB of output"),
    ],
)
def test_an_interpreter_that_says_nothing(tmp_path: Path, text: str, why: str) -> None:
    """Or no end of it: it is told how it ended."""
    begun = time.monotonic()
    assert why in (ask(script(tmp_path / "python", text)).failure or "")
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "text",
    [
        "exec sleep 60",
        "trap '' TERM INT HUP; while true; do sleep 60; done",
        "exec 1>&- 2>&-; exec sleep 60",
        f"echo '{HERE}'; exec sleep 60",
        f"setsid sleep 61 & exec '{sys.executable}' -c 'import time; time.sleep(60)'",
    ],
)
def test_an_interpreter_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Until the time limit; nothing of it is left behind."""
    monkeypatch.setattr("envforge.adapters.prefix.python_probe._GRACE", 0.1)
    begun = time.monotonic()
    facts = ask(script(tmp_path / "python", text), timeout=0.2, PROBE_TEST=str(tmp_path))
    assert "no answer within" in (facts.failure or "")
    assert time.monotonic() - begun < 10
    assert left_behind(tmp_path) == []


def left_behind(mark: Path) -> list[int]:
    """Processes that still run with the variable that `ask` was given."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PROBE_TEST={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize(
    "text",
    [
        'setsid sleep 62 & exec "{python}" "$@"',  # holds the pipe, in another session
        '"{python}" "$@"; exec sleep 62',  # has said everything, and does not end
        '"{python}" "$@"; setsid sleep 62 & exit 3',
    ],
)
def test_an_interpreter_that_leaves_others_behind(tmp_path: Path, text: str) -> None:
    """Its answer counts, nobody waits for the others, and they are ended."""
    python = script(tmp_path / "python", text.format(python=sys.executable))
    begun = time.monotonic()
    facts = ask(python, PROBE_TEST=str(tmp_path))
    assert facts.failure is None
    assert time.monotonic() - begun < 15
    assert left_behind(tmp_path) == []


def test_an_import_that_leaves_others_behind(environment: Path, tmp_path: Path) -> None:
    """A daemon that holds the probe's own pipes, in a session of its own; and a flood of words."""
    python = put_torch(
        environment,
        "import os, sys, time\n"
        "for _ in range(2):\n    if os.fork() == 0:\n        os.setsid(); time.sleep(63)\n"
        "for _ in range(300):\n    sys.stdout.write('x' * 65536)\n"
        + FAKE_TORCH.format(cuda=None, arange="pass"),
    )
    begun = time.monotonic()
    torch = ask(python, PROBE_TEST=str(tmp_path)).torch
    assert torch is not None
    assert torch.version == "2.0.1"
    assert 4000 < len(torch.output) < 10_000
    assert time.monotonic() - begun < 15
    assert left_behind(tmp_path) == []


def test_who_asked_is_killed(environment: Path, tmp_path: Path) -> None:
    """The probe ends with it, and so does the import that hangs."""
    python = put_torch(environment, "import time; time.sleep(64)")
    program = (
        "import sys\nfrom test_probe import ask\n"
        f"ask({str(python)!r}, PROBE_TEST={str(tmp_path)!r})\n"
    )
    tests = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": f"{tests}:{tests}/integration"}
    asking = subprocess.Popen([sys.executable, "-c", program], env=env)
    limit = time.monotonic() + 20
    while len(left_behind(tmp_path)) < 3 and time.monotonic() < limit:
        time.sleep(0.05)
    assert left_behind(tmp_path)
    asking.kill()
    asking.wait()
    while left_behind(tmp_path) and time.monotonic() < limit:
        time.sleep(0.05)
    assert left_behind(tmp_path) == []


def test_an_interpreter_that_is_too_old(tmp_path: Path) -> None:
    """The script itself says so, as far back as it is read."""
    text = PROBE.read_text().replace("(3, 6)", "(3, 99)", 1)
    (tmp_path / "probe.py").write_text(text)
    old = script(tmp_path / "python", f'shift 2; exec "{sys.executable}" {tmp_path}/probe.py "$@"')
    assert "and PyTorch needs" in (ask(old).failure or "")


def test_an_interpreter_of_another_platform(tmp_path: Path) -> None:
    """Or one that is no program at all, or not there."""
    alien = tmp_path / "python"
    alien.write_bytes(b"MZ\x90\x00not for this machine")
    alien.chmod(0o755)
    assert "exec format error" in (ask(alien).failure or "")
    alien.chmod(0o644)
    assert "permission denied" in (ask(alien).failure or "")
    assert "permission denied" in (ask(tmp_path).failure or "")
    assert "not installed" in (ask(tmp_path / "absent").failure or "")
    assert "null" in (ask("/bin/\0").failure or "")


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


def test_what_follows_torch(environment: Path) -> None:
    """Modules that are there are imported after it, each in a fork of one process."""
    python = put_torch(environment, FAKE_TORCH.format(cuda=None, arange="pass"))
    [site] = environment.glob("lib/python3*/site-packages")
    for name, text in (
        ("peft", "import sys, warnings\nassert 'torch' in sys.modules\nwarnings.warn('old')"),
        ("flash_attn", "raise ImportError('undefined symbol: _ZN3c10')"),
        ("triton", "import os; os.kill(os.getpid(), 11)"),
        ("accelerate", "import time; time.sleep(60)"),
    ):
        (site / name).mkdir(exist_ok=True)
        (site / name / "__init__.py").write_text(text + "\n__version__ = '1.2'\n")

    runs = {run.name: run for run in ask(python, level="live", timeout=2).imports}

    for name in ("peft", "flash_attn", "triton", "accelerate"):
        shutil.rmtree(site / name)
    assert runs.keys() == {"peft", "flash_attn", "triton", "accelerate"}
    assert runs["peft"].ending.is_good
    assert (runs["peft"].version, runs["peft"].warnings) == ("1.2", ("UserWarning: old",))
    assert runs["flash_attn"].ending.message == "ImportError: undefined symbol: _ZN3c10"
    assert runs["triton"].ending.ended == "signal 11"
    assert runs["accelerate"].ending.ended == "timeout"


def test_what_the_interpreter_knows_of_itself(environment: Path) -> None:
    """Its headers' folder, its path, and that it can use TLS."""
    facts = ask(put_torch(environment, FAKE_TORCH.format(cuda=None, arange="pass")))

    assert facts.prefix == str(environment)
    assert facts.base_prefix == sys.base_prefix
    assert (facts.include or "").endswith(f"python3.{sys.version_info[1]}")
    assert any(folder.endswith("site-packages") for folder in facts.path)
    assert facts.user_site is not None
    assert facts.ssl is not None
    assert facts.ssl.ending.is_good
    assert facts.torch is not None
    assert facts.torch.numpy is None
    assert "torch" in facts.torch.modules
    assert "json" not in facts.torch.modules


def test_warnings_of_the_import_are_kept(environment: Path) -> None:
    """Those for users; and NumPy that breaks at the first array is told with its version."""
    text = FAKE_TORCH.format(cuda=None, arange="pass")
    text += "\nimport warnings\nwarnings.warn('Failed to initialize NumPy: _ARRAY_API')"
    text += "\nwarnings.warn('for programmers', DeprecationWarning)"
    text += "\nclass zeros:\n    def __init__(self, n): raise RuntimeError('Numpy is gone')\n"
    python = put_torch(environment, text)
    [site] = environment.glob("lib/python3*/site-packages")
    (site / "numpy.py").write_text("__version__ = '2.1.0'\n")

    torch = ask(python).torch

    (site / "numpy.py").unlink()
    assert torch is not None
    assert torch.import_warnings == ("UserWarning: Failed to initialize NumPy: _ARRAY_API",)
    assert torch.numpy is not None
    assert (torch.numpy.version, torch.numpy.bridge) == ("2.1.0", None)
    assert torch.numpy.error == "RuntimeError: Numpy is gone"


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
