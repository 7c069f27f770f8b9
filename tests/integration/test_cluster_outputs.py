"""Files for clusters, read by what they are for: Slurm, Lmod, jupyter_client, systemd, shells."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from fakes.outputs import subject_for, written

ODD = "a b'\"$(touch x) `id` {{ y }} %z %h; $HOME \\ é #"
"""A value that means something in every one of these languages."""
NAME = "x-torch27-cu126"


def program(*names: str) -> str:
    """The first that is here; skips, visibly, where none is."""
    for folder in (
        *os.environ["PATH"].split(":"),
        "/usr/sbin",
        "/sbin",
        "/usr/share/lmod/lmod/libexec",
    ):
        for name in names:
            if os.access(Path(folder, name), os.X_OK):
                return str(Path(folder, name))
    pytest.skip(f"no {names[0]} on this machine")


def put(folder: Path, output: str, given: Mapping[str, str]) -> Path:
    """Write an output of the odd environment."""
    folder.mkdir(parents=True, exist_ok=True)
    env = subject_for(variables={"ODD": ODD})
    for name, file in written(output, given, env).items():
        (folder / name).write_text(file.text)
        (folder / name).chmod(0o755 if file.executable else 0o644)
    return folder


def prefix_at(folder: Path) -> Path:
    """Something like an environment: its Python says what it was told."""
    (folder / "bin").mkdir(parents=True)
    (folder / "conda-meta").mkdir()
    python = folder / "bin" / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nenv\n')
    python.chmod(0o755)
    return folder


# --- shells -----------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["slurm", "onboarding"])
def test_shellcheck_finds_nothing(output: str, tmp_path: Path) -> None:
    checker = program("shellcheck")
    put(tmp_path, output, {})
    scripts = [str(path) for path in tmp_path.iterdir() if path.suffix in {".sh", ".sbatch"}]
    # SC2016: a value with `$` in single quotes is what is meant
    done = subprocess.run(
        [checker, "-e", "SC2016", *scripts], capture_output=True, text=True, check=False
    )
    assert scripts
    assert done.returncode == 0, done.stdout


# --- Lmod -------------------------------------------------------------------------------------


def test_lua_reads_the_modulefile(tmp_path: Path) -> None:
    compiler = program("luac", "luac5.4", "luac5.3", "luac5.1")
    put(tmp_path, "lmod", {"prefix": f"/srv/{ODD}"})
    done = subprocess.run(
        [compiler, "-p", str(tmp_path / f"{NAME}.lua")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def lmod(folder: Path, *arguments: str, **more: str) -> str:
    """What `module` would have the shell do."""
    done = subprocess.run(
        [program("lmod"), "bash", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "MODULEPATH": str(folder), **more},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"{done.stdout}\nfailed {done.stderr}"
    return done.stdout


def test_lmod_loads_it(tmp_path: Path) -> None:
    """With the variables as they are, whatever they hold."""
    prefix = prefix_at(tmp_path / f"env {ODD.replace('/', '')}")
    modules = put(tmp_path / "modules", "lmod", {"prefix": str(prefix), "hub": "/srv/view"})

    code = lmod(modules, "load", NAME)

    show = 'printf "%s\\0" "$ODD" "$CONDA_PREFIX" "$HF_HUB_CACHE" "$PATH"'
    done = subprocess.run(
        ["bash", "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    *values, path, _ = done.stdout.split("\0")
    assert values == [ODD, str(prefix), "/srv/view"]
    assert path.startswith(f"{prefix}/bin:")
    assert not list(tmp_path.rglob("x"))


def test_lmod_refuses_what_is_not_installed(tmp_path: Path) -> None:
    modules = put(tmp_path / "modules", "lmod", {"prefix": str(tmp_path / "nothing")})
    assert "is not installed at" in lmod(modules, "load", NAME)


# --- systemd ----------------------------------------------------------------------------------


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyzer = program("systemd-analyze")
    prefix = prefix_at(tmp_path / "an env 50% 'of' \"$x\"")
    units = put(tmp_path / "units", "systemd", {"prefix": str(prefix), "user": "root"})
    (units / f"{NAME}@.service").rename(units / f"{NAME}@app.serve.service")
    done = subprocess.run(
        [analyzer, "verify", "--man=no", *map(str, sorted(units.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if NAME in line]
    assert not ours, done.stderr
    assert done.returncode == 0, done.stderr


# --- Jupyter ----------------------------------------------------------------------------------


def test_jupyter_starts_the_kernel_without_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the process: with the environment's Python, its variables, its folder on PATH."""
    client = pytest.importorskip("jupyter_client.kernelspec")
    prefix = prefix_at(tmp_path / f"env {ODD.replace('/', '')}")
    put(tmp_path / "kernels" / NAME, "jupyter", {"prefix": str(prefix), "hub": "/srv/view"})
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("ODD", "somebody else's")

    from jupyter_client.manager import KernelManager

    specs = client.KernelSpecManager(
        kernel_dirs=[str(tmp_path / "kernels")], ensure_native_kernel=False
    )
    manager = KernelManager(kernel_name=NAME, kernel_spec_manager=specs)
    manager.connection_file = str(tmp_path / "connection.json")
    assert manager.kernel_spec.display_name == NAME
    with (tmp_path / "out").open("w") as out:
        manager.start_kernel(stdout=out)
        deadline = time.monotonic() + 20
        while manager.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        manager.cleanup_resources()
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[:3] == ["-m", "ipykernel_launcher", "-f"]
    assert lines[3] == str(tmp_path / "connection.json")
    assert f"ODD={ODD}" in lines
    assert f"CONDA_PREFIX={prefix}" in lines
    assert f"PATH={prefix}/bin:/usr/bin:/bin" in lines


@pytest.fixture
def notebook_prefix(tmp_path: Path) -> Path:
    """An environment with ipykernel, at a path that means something in many languages."""
    prefix = tmp_path / f"env {ODD.replace('/', '')}"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    install = ["install", "-q", "--no-compile", "ipykernel>=6"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", prefix / "bin" / "python", *install],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no package index in reach: {done.stderr.strip()[-200:]}")
    return prefix


@pytest.mark.slow
def test_a_notebook_s_cell_is_run_by_the_environment(
    notebook_prefix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its variables, and programs of its own before everybody's."""
    client = pytest.importorskip("jupyter_client.kernelspec")
    from jupyter_client.manager import KernelManager

    given = {"prefix": str(notebook_prefix), "hub": "/srv/view"}
    put(tmp_path / "kernels" / NAME, "jupyter", given)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    specs = client.KernelSpecManager(
        kernel_dirs=[str(tmp_path / "kernels")], ensure_native_kernel=False
    )
    manager = KernelManager(kernel_name=NAME, kernel_spec_manager=specs)
    manager.start_kernel()
    asked = manager.blocking_client()
    asked.start_channels()
    said: list[str] = []
    try:
        asked.wait_for_ready(timeout=60)
        reply = asked.execute_interactive(
            "import os, shutil, sys\n"
            "values = [os.environ[name] for name in ('ODD', 'HF_HUB_CACHE')]\n"
            "print(repr([sys.prefix, shutil.which('python'), *values]))",
            output_hook=lambda message: said.append(message["content"].get("text", "")),
            timeout=60,
        )
    finally:
        asked.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok", reply
    python = f"{notebook_prefix}/bin/python"
    assert literal_eval("".join(said)) == [str(notebook_prefix), python, ODD, "/srv/view"]


# --- Slurm ------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """One controller and one node, on loopback, with our prolog and epilog."""

    root: Path
    stack: ExitStack

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.root / "slurm.conf")}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *command: str) -> None:
        log = (self.root / f"{Path(command[0]).name}.out").open("w")
        child = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.stack.callback(log.close)
        self.stack.callback(child.wait, 20)
        self.stack.callback(child.terminate)

    def wait(self, what: str, *command: str) -> str:
        """Until a command says it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            done = self.run(*command)
            if what in done.stdout:
                return done.stdout
            time.sleep(0.2)
        logs = "".join(path.read_text() for path in self.root.glob("*.out"))
        pytest.fail(f"`{what}` never came: {done.stdout}{done.stderr}\n{logs}")


def free_ports() -> list[int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], two.getsockname()[1]]


@pytest.fixture
def cluster(open_folder: Path) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("only root runs a cluster with prologs")
    controller, node = program("slurmctld"), program("slurmd")
    program("sbatch")
    if not list(Path("/usr/lib").glob("*/slurm*/auth_none.so")):
        pytest.skip("this Slurm has no authentication for one machine")
    prefix_at(open_folder / "env")
    envforge = open_folder / "envforge"
    envforge.write_text(
        f"#!/bin/sh\necho \"$(id -u) $*\" >>'{open_folder}/calls'\n"
        f"read -r status <'{open_folder}/status'\nexit \"$status\"\n"
    )
    envforge.chmod(0o755)
    (open_folder / "status").write_text("0\n")
    (open_folder / "calls").touch()
    (open_folder / "calls").chmod(0o666)
    given = {
        "prefix": str(open_folder / "env"),
        "envforge": str(envforge),
        "scratch": str(open_folder / "scratch"),
        "cpus": "2",
        "memory": "100Mi",
    }
    put(open_folder, "slurm", given)
    (open_folder / "slurm.conf").write_text(configuration(open_folder))
    (open_folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    with ExitStack() as stack:
        made = Cluster(open_folder, stack)
        made.start(controller, "-D", "-f", str(open_folder / "slurm.conf"))
        made.wait("up", "sinfo", "-h")
        made.start(node, "-D")
        made.wait("idle", "sinfo", "-h")
        yield made


def configuration(root: Path) -> str:
    (root / "state").mkdir()
    (root / "spool").mkdir()
    host = socket.gethostname().partition(".")[0]
    ports = free_ports()
    return f"""\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/controller.pid
SlurmdPidFile={root}/node.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
Prolog={root}/prolog.sh
Epilog={root}/epilog.sh
TaskProlog={root}/task-prolog.sh
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def test_slurm_takes_the_job_and_runs_it_between_prolog_and_epilog(cluster: Cluster) -> None:
    job = str(cluster.root / f"{NAME}.sbatch")
    tried = cluster.run("sbatch", "--test-only", job, "true")
    assert "to start at" in tried.stderr, tried.stderr

    names = '"$ODD" "$TMPDIR" "$OMP_NUM_THREADS" "$CONDA_PREFIX" "${PATH%%:*}"'
    say = f'printf "%s\\n" {names}; ls -ld "$TMPDIR"'
    sent = cluster.run("sbatch", "--wait", job, "sh", "-c", say)
    assert sent.returncode == 0, sent.stderr
    number = sent.stdout.split()[-1]

    env, scratch = cluster.root / "env", cluster.root / "scratch"
    lines = (cluster.root / f"{NAME}-{number}.out").read_text().splitlines()
    assert lines[:5] == [ODD, f"{scratch}/{number}", "2", str(env), f"{env}/bin"]
    assert lines[5].startswith("drwx------")
    calls = (cluster.root / "calls").read_text().splitlines()
    assert calls == [
        "0 verify --host --level static --require-gpu",
        f"0 verify --prefix {env} --level static --require-gpu",
    ]
    cluster.wait("idle", "sinfo", "-h")
    assert not list(scratch.iterdir())
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o711


def test_a_node_whose_gpus_do_not_work_is_drained(cluster: Cluster) -> None:
    """And the job waits for another, instead of failing on this one."""
    (cluster.root / "status").write_text("1\n")
    cluster.run("sbatch", str(cluster.root / f"{NAME}.sbatch"), "true")
    assert "drain" in cluster.wait("drain", "sinfo", "-h")
    assert (
        f"{pwd.getpwuid(os.geteuid()).pw_uid} verify --host" in (cluster.root / "calls").read_text()
    )


@pytest.mark.parametrize("status", ["2", "7", "70"])
def test_a_check_that_cannot_run_drains_nothing(status: str, tmp_path: Path) -> None:
    """A disk that is away, a bug of ours: no reason to take all nodes out of service."""
    envforge = tmp_path / "envforge"
    envforge.write_text(f"#!/bin/sh\nexit {status}\n")
    envforge.chmod(0o755)
    given = {"prefix": "/srv/x", "envforge": str(envforge), "scratch": str(tmp_path / "s")}
    put(tmp_path, "slurm", given)
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "0", "SLURM_JOB_UID": str(os.getuid())}
    variables["SLURM_JOB_GID"] = str(os.getgid())
    for script in ("prolog.sh", "epilog.sh"):
        done = subprocess.run([tmp_path / script], env=variables, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert (tmp_path / "s" / "7").exists() == (script == "prolog.sh")


@pytest.mark.parametrize("number", ["", "../x", "7;id", "7 8", "$(id)"])
def test_what_is_no_job_touches_nothing(number: str, tmp_path: Path) -> None:
    put(tmp_path, "slurm", {"prefix": "/srv/x", "scratch": str(tmp_path / "s")})
    (tmp_path / "x").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for script in ("prolog.sh", "task-prolog.sh", "epilog.sh"):
        done = subprocess.run(
            [tmp_path / script], env={"SLURM_JOB_ID": number}, capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, b"")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_the_job_s_folder_leads_the_epilog_nowhere(tmp_path: Path) -> None:
    put(tmp_path, "slurm", {"prefix": "/srv/x", "scratch": str(tmp_path / "s")})
    (tmp_path / "s").mkdir(mode=0o711)
    (tmp_path / "s" / "7").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tmp_path / "s" / "7" / "link").symlink_to(tmp_path / "precious")
    subprocess.run([tmp_path / "epilog.sh"], env={"SLURM_JOB_ID": "7"}, check=True)
    assert not (tmp_path / "s" / "7").exists()
    assert (tmp_path / "precious" / "file").exists()


@pytest.mark.parametrize("how", ["link", "writable", "foreign"])
def test_a_folder_that_others_can_change_is_none_for_jobs(how: str, tmp_path: Path) -> None:
    """In `/var/tmp` anybody may be first: root would give away, or remove, what it leads to."""
    if how == "foreign" and os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    scratch, results = tmp_path / "s", tmp_path / "results"
    put(tmp_path, "slurm", {"prefix": "/srv/x", "scratch": str(scratch)})
    results.mkdir(mode=0o755)
    (results / "7").mkdir()
    if how == "link":
        scratch.symlink_to(results)
    else:
        results.rename(scratch)
        scratch.chmod(0o1777 if how == "writable" else 0o755)
        if how == "foreign":
            os.chown(scratch, 64210, 64210)
    for number, script in (("8", "prolog.sh"), ("7", "epilog.sh")):
        done = subprocess.run(
            [tmp_path / script], env={"SLURM_JOB_ID": number}, capture_output=True, check=False
        )
        assert done.returncode == 0
        assert (b"only root can change" in done.stderr) == (script == "prolog.sh")
    assert [path.name for path in scratch.iterdir()] == ["7"]


def test_a_folder_of_somebody_else_is_no_place_for_temporary_files(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    put(tmp_path, "slurm", {"prefix": "/srv/x", "scratch": str(tmp_path / "s")})
    (tmp_path / "s" / "7").mkdir(parents=True)
    said = []
    for owner in (0, 64210):
        os.chown(tmp_path / "s" / "7", owner, owner)
        told = subprocess.run(
            [tmp_path / "task-prolog.sh"],
            env={"SLURM_JOB_ID": "7"},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(told.stdout)
    assert said == [f"export TMPDIR={tmp_path}/s/7\n", ""]


def test_a_job_says_what_it_wants_and_keeps_its_arguments_apart(tmp_path: Path) -> None:
    """Run by bash itself, with an srun that says how it was called."""
    prefix = prefix_at(tmp_path / f"env {ODD.replace('/', '')}")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, body in {"envforge": "exit 0", "srun": 'printf "%s\\n" "$@"; echo "$ODD"'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    put(tmp_path, "slurm", {"prefix": str(prefix), "envforge": str(tools / "envforge")})
    job = [shutil.which("bash") or "bash", str(tmp_path / f"{NAME}.sbatch")]
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    said = subprocess.run(
        [*job, "python", "a b", "$(id)"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == ["--export=ALL", "python", "a b", "$(id)", ODD]
    alone = subprocess.run(job, env=environment, capture_output=True, text=True, check=False)
    assert (alone.returncode, alone.stderr.split(":")[0]) == (2, "usage")


def test_the_kernel_s_file_is_json_that_names_its_lock(tmp_path: Path) -> None:
    put(tmp_path, "jupyter", {"prefix": "/srv/x", "name": 'Ada\'s "env" é'})
    kernel = json.loads((tmp_path / "kernel.json").read_text())
    assert kernel["display_name"] == 'Ada\'s "env" é'
    assert len(kernel["metadata"]["envforge"]["lock"]) == 64
