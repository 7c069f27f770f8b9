"""`envforge verify` of anything at all: an answer or a clear sentence, never a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.test_wrong_input import PIXI, without_privileges
from e2e.world import Done, Place
from fakes.facts import LOCKED, locked
from fakes.prefix_on_disk import SITE, add_record, forge_prefix
from fakes.stub_driver import H200, stub_driver

TORCH = {"__version__": "2.0.1", "cuda": "11.8", "hip": None}


@pytest.fixture
def desk(tmp_path: Path) -> Place:
    """A working folder, and nothing else."""
    place = Place(tmp_path)
    place.home.mkdir()
    return place


def foreign(folder: Path) -> Path:
    """An environment that conda made."""
    return forge_prefix(folder, LOCKED, torch=TORCH)


def venv(folder: Path) -> Path:
    """A virtual environment of this Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def said(done: Done, status: int, *words: str) -> None:
    """It ended so, with these words, and with no traceback."""
    text = done.out + done.err
    assert done.status == status, text
    for expected in words:
        assert expected in text, text
    assert "Traceback" not in text
    assert "bug" not in text


# --- directories ----------------------------------------------------------------------------


def _cut_record(prefix: Path) -> None:
    path = next(prefix.glob("conda-meta/numpy-*.json"))
    path.write_bytes(path.read_bytes()[:40])


def _binary_record(prefix: Path) -> None:
    next(prefix.glob("conda-meta/numpy-*.json")).write_bytes(b"\x00\xff\x9c" * 9)


def _odd_record(prefix: Path) -> None:
    next(prefix.glob("conda-meta/numpy-*.json")).write_text('["no", {"object": 1}]')


def _half_installed(prefix: Path) -> None:
    marker = {"schema": 1, "complete": False, "digest": "0" * 64, "environment": ""}
    (prefix / "conda-meta" / "envforge.json").write_text(json.dumps(marker))


def _without_python(prefix: Path) -> None:
    shutil.rmtree(prefix / "bin")


def _strange_names(prefix: Path) -> None:
    (prefix / SITE / "caf\udce9.dist-info").mkdir()
    (prefix / SITE / "\x1b[31m-1.0.dist-info").mkdir()


@pytest.mark.parametrize(
    ("harm", "check"),
    [
        (_cut_record, "metadata-broken"),
        (_binary_record, "metadata-broken"),
        (_odd_record, "metadata-broken"),
        (_without_python, "python-missing"),
        (_strange_names, "metadata-broken"),
    ],
)
def test_a_prefix_with_a_broken_part(desk: Place, harm: Callable[[Path], None], check: str) -> None:
    harm(foreign(desk.folder / "x"))
    done = desk.run("verify", "--prefix", "x", "--level", "static")
    said(done, 1, f"[{check}]")
    assert "\x1b" not in done.out
    found = desk.run("verify", "--prefix", "x", "--level", "static", "--json").json
    assert check in [item["check"] for item in found["reports"][0]["findings"]]


def test_a_prefix_that_is_no_prefix(desk: Place) -> None:
    (desk.folder / "empty").mkdir()
    (desk.folder / "thesis").mkdir()
    (desk.folder / "thesis" / "thesis.tex").write_text("work of years\n")
    (desk.folder / "file").write_text("x\n")
    (desk.folder / "loop").symlink_to("loop")
    cases = {
        "none": "does not exist",
        "empty": "is no environment",
        "thesis": "is no environment",
        "file": "is no directory",
        "loop": "loop",
    }
    for name, words in cases.items():
        done = desk.run("verify", "--prefix", name)
        said(done, done.status, words, name)
        assert done.status in {2, 7}
        assert done.err.startswith("error: ")


def test_a_prefix_that_may_not_be_read(desk: Place) -> None:
    """The prefix itself, and one record in it."""
    prefix = foreign(desk.folder / "x")
    wrapper = without_privileges()
    [record] = prefix.glob("conda-meta/numpy-*.json")
    record.chmod(0)
    done = desk.run("verify", "--prefix", "x", "--level", "static", wrapper=wrapper)
    said(done, 1, "[metadata-broken]")
    prefix.chmod(0)
    try:
        said(desk.run("verify", "--prefix", "x", wrapper=wrapper), 7, "permission denied")
    finally:
        prefix.chmod(0o755)


def test_a_virtual_environment(desk: Place) -> None:
    venv(desk.folder / "v")
    done = desk.run("verify", "--prefix", "v", "--level", "static", "--json")
    said(done, 0)
    [report] = done.json["reports"]
    assert (report["kind"], report["findings"]) == ("prefix", [])


def test_ten_thousand_packages(desk: Place) -> None:
    """It takes longer, and ends."""
    prefix = foreign(desk.folder / "x")
    for index in range(10_000):
        add_record(prefix, locked(f"package-{index}", "1.0"))
    done = desk.run("verify", "--prefix", "x", "--level", "static", "--json")
    said(done, 0)
    assert done.json["reports"][0]["proven"]["packages"].startswith("10003 from conda")


# --- interpreters ---------------------------------------------------------------------------


def _program(path: Path, content: str | bytes, mode: int = 0o755) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def test_what_is_no_python(desk: Place) -> None:
    venv(desk.folder / "v")
    _program(desk.folder / "python", "just text\n")
    _program(desk.folder / "python-elf", b"\x7fELF" + bytes(60))
    _program(desk.folder / "crash.sh", "#!/bin/sh\nkill -SEGV $$\n")
    _program(desk.folder / "mute.sh", "#!/bin/sh\nexit 0\n")
    cases = {
        str(desk.folder / "none"): "does not exist",
        "v": "is a directory",
        str(desk.folder / "v"): f"--python {desk.folder}/v/bin/python",
        "no-such-python": "is not on PATH",
        shutil.which("true") or "/bin/true": "is no Python",
        str(desk.folder / "python"): "does not work as a Python",
        str(desk.folder / "python-elf"): "does not work as a Python",
        str(desk.folder / "crash.sh"): "signal 11",
        str(desk.folder / "mute.sh"): "ended without an answer",
    }
    for command, words in cases.items():
        said(desk.run("verify", "--python", command, "--level", "import"), 2, words)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\nkill -SEGV $$\n", "signal 11"),
        ("#!/bin/sh\nexit 3\n", "status 3"),
        ("#!/bin/sh\nexit 0\n", "without an answer"),
        ("#!/bin/sh\nsleep 100\n", "no answer"),
        ("#!/no/such/interpreter\n", "not installed"),
        (b"\x7fELF\x02\x01\x01" + bytes(11) + b"\xb7\x00" + bytes(60), "exec format error"),
        ("", "exec format error"),
    ],
    ids=["crash", "status", "mute", "hang", "no-interpreter", "other-platform", "empty"],
)
def test_an_interpreter_that_does_not_work(desk: Place, script: str | bytes, words: str) -> None:
    """A finding, and never a pass, whatever is left out."""
    prefix = foreign(desk.folder / "x")
    _program(prefix / "bin" / "python", script)
    command = ("verify", "--prefix", "x", "--level", "import", "--timeout", "0.5")
    done = desk.run(*command, "--skip", "python-does-not-start", "--json")
    assert done.status == 1, done.out + done.err
    [unseen] = done.json["reports"][0]["unseen"]
    assert words in unseen["reason"].lower() or words in done.out.lower(), unseen


def test_an_interpreter_that_talks_at_start_up(desk: Place) -> None:
    """What a `.pth` file or sitecustomize prints is no answer."""
    prefix = venv(desk.folder / "v")
    [site] = prefix.glob("lib/python*/site-packages")
    (site / "loud.pth").write_text("import sys; print('{\"torch\": 1}'); sys.stderr.write('!')\n")
    done = desk.run("verify", "--python", prefix / "bin" / "python", "--level", "import", "--json")
    said(done, 0)
    assert done.json["reports"][0]["unseen"] == []


# --- locks and machines ---------------------------------------------------------------------


def test_a_lock_that_is_none(desk: Place) -> None:
    (desk.folder / "folder").mkdir()
    texts = {
        "pixi.lock": PIXI,
        "explicit.txt": "@EXPLICIT\nhttps://a.b/linux-64/a-1-0.conda\n",
        "poetry.lock": '[[package]]\nname = "x"\nversion = "1"\n',
        "requirements.txt": "torch==2.0.1\n",
        "package-lock.json": '{"name": "x", "lockfileVersion": 3}\n',
        "empty": "",
    }
    for name, text in texts.items():
        (desk.folder / name).write_text(text)
        done = desk.run("verify", "--lock", name)
        said(done, 2, f"`{name}`")
    (desk.folder / "binary").write_bytes(b"\x00\xff\xfe" * 99)
    said(desk.run("verify", "--lock", "binary"), 7, "UTF-8")
    said(desk.run("verify", "--lock", "none"), 2, "it does not exist")
    said(desk.run("verify", "--lock", "folder"), 2, "it is a folder")


def test_the_machine_alone(desk: Place) -> None:
    """With a GPU behind the stub driver, and without one."""
    driver = stub_driver(driver="570.124.06", cuda="12.8", gpus=[H200])
    done = desk.run("verify", "--host", "--check", "cuda-init-failed", env=driver)
    said(done, 0, "this machine: ok", "NVIDIA H200")
    broken = stub_driver(driver="570.124.06", cuda="12.8", gpus=[H200], cuinit=802)
    done = desk.run("verify", "--host", "--json", env=broken)
    assert done.status == 1
    assert done.json["reports"][0]["findings"][0]["check"] == "fabric-not-ready-802"
    root = {"ENVFORGE_HOST_ROOT": str(desk.folder / "no-machine")}
    said(desk.run("verify", "--host", "--require-gpu", env=root), 1, "a GPU is required")


# --- reports --------------------------------------------------------------------------------


def test_piped_text_is_plain_and_loads_no_terminal_library(desk: Place) -> None:
    foreign(desk.folder / "x")
    code = (
        "import sys; from envforge.cli import cli\n"
        "cli.main(['verify', '-q', '--prefix', 'x', '--level', 'static'], standalone_mode=False)\n"
        "print('rich' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=desk.folder,
        env=desk.environment({"FORCE_COLOR": ""}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("\nFalse\n")
    assert "\x1b" not in done.stdout


def test_a_text_to_paste_names_nobody(desk: Place) -> None:
    """On a machine that is full of names."""
    home = desk.folder / "home" / "ada.lovelace"
    home.mkdir()
    prefix = foreign(home / "envs" / "x")
    next(prefix.glob("conda-meta/numpy-*.json")).write_text("cut")
    private = {
        "HOME": str(home),
        "USER": "ada.lovelace",
        "HOSTNAME": "gpu17.cluster.example.edu",
        "HF_TOKEN": "hf_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef",
        "LD_LIBRARY_PATH": f"{home}/lib:/scratch/ada.lovelace/lib",
        "PYTHONPATH": "/net/gpu17/py",
    }
    done = desk.run("verify", "--prefix", prefix, "--level", "static", "--report", env=private)
    assert done.status == 1
    assert "[metadata-broken]" in done.out
    assert "\nenvforge: " in done.out
    for value in ("lovelace", "gpu17", "hf_ABC", str(home)):
        assert value not in done.out, done.out


def _ends(pid: int) -> bool:
    """Whether the process is gone in a while; one that nobody has waited for yet (Z) is, too."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(250):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        subprocess.run(["sleep", "0.02"], check=True)
    return False


def test_an_interruption_ends_the_probe_too(desk: Place) -> None:
    """Ctrl-C while torch is imported: status 130 at once, and nobody is left behind."""
    prefix = foreign(desk.folder / "x")
    _program(prefix / "bin" / "python", "#!/bin/sh\necho $$ > started\nexec sleep 100\n")
    with desk.start("verify", "--prefix", "x", "--level", "import") as process:
        pid_file = desk.folder / "started"
        for _ in range(600):
            if pid_file.exists() and pid_file.read_text().strip():
                break
            process.poll()
            subprocess.run(["sleep", "0.02"], check=True)
        process.send_signal(2)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "interrupted" in err
    assert _ends(int(pid_file.read_text()))
