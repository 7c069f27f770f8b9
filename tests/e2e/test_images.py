"""Images are built as their files say, step by step, and what they start does what they promise."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import made_once
from e2e.world import Place, World
from fakes import image_builder, tiny_model
from fakes.definition_runner import Runner
from fakes.image_builder import Builder, Stage
from fakes.local_hub import LocalHub
from fakes.pods import Pod, compose_command
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
IMAGE = "registry.example.org/team/p@sha256:" + "5" * 64
_NETWORK = ("PIP_", "SSL_", "REQUESTS_", "http", "HTTP", "no_proxy", "NO_PROXY")
_PATH = (
    f"{Path(sys.base_prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
BAKED = ("--bake-models", "all")
EXPORTS: Mapping[str, tuple[str, ...]] = {
    "dockerfile": ("dockerfile", *BAKED),
    "apptainer": ("apptainer", *BAKED),
    "compose": ("compose", *BAKED),
    "devcontainer": ("devcontainer", *BAKED),
    "image": ("kubernetes", "--set", f"image={IMAGE}", "--set", "models=image"),
    "memory": ("kubernetes", "--set", f"image={IMAGE}", "--set", "models=memory"),
}
"""By folder: what is asked of `export`."""


@dataclass(frozen=True)
class Prepared:
    """What images are built from."""

    folder: Path
    name: str
    torch: str

    @property
    def wheels(self) -> Path:
        """envforge's own wheel, as a release would bring it."""
        return self.folder / "wheels"

    def out(self, which: str) -> Path:
        """What `export` wrote; see `EXPORTS`."""
        return self.folder / "out" / which

    def yaml(self, which: str, file: str) -> Any:
        """One of its files."""
        return YAML(typ="safe").load(self.out(which) / file)


@pytest.fixture
def prepared(tmp_path: Path, world: World, shared: Path) -> Prepared:
    """A lock with a model, and everything that is exported of it."""
    reason = image_builder.why_not(tmp_path)
    if reason:
        pytest.skip(reason)
    torch = world.build("pytorch_cpu")
    name = torch.name("p")

    def make(folder: Path) -> None:
        place = Place.beside(folder, world, shared)
        folder.mkdir()
        _wheel(folder / "wheels")
        with _hub() as hub:
            place.variables["HF_ENDPOINT"] = hub.url
            place.good("lock", "p", *torch.options, "--model", "org/tiny-bert")
        for which, options in EXPORTS.items():
            out = folder / "out" / which
            done = place.good("export", name, "--to", *options, "-o", f"{out}/")
            (folder / "out" / f"{which}.told").write_text(done.err)

    return Prepared(made_once(shared / "images", make), name, torch.version)


def _hub() -> LocalHub:
    hub = LocalHub()
    hub.add("org/tiny-bert", tiny_model.tiny_bert(seed=1))
    return hub


def _wheel(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT],
        env={**os.environ, "HOME": "/root"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no wheel of envforge can be built here: {done.stderr.strip()[-200:]}")


@pytest.fixture
def network(world: World) -> dict[str, str]:
    """How packages are fetched here."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_NETWORK)}
    return {**kept, "ENVFORGE_MIRROR": str(world.root)}


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Path]:
    """For layers, which are large."""
    yield tmp_path / "build"
    subprocess.run(["rm", "-rf", tmp_path / "build"], check=True)


def opened(builder: Builder, image: Stage) -> None:
    """This machine's Python, which stands in for the base image's, may lie in root's home."""
    script = "chmod 755 /root /root/.[a-z]* 2>/dev/null || true"
    builder.run(image, ["sh", "-c", script], user="0:0")


def ended(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A command, run to its end."""
    how: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 120}
    return subprocess.run(command, text=True, check=False, **how)


# --- Dockerfile, and what runs its image ------------------------------------------------------


@pytest.mark.slow
def test_an_image_is_built_and_run_by_docker_compose_and_kubernetes(
    prepared: Prepared, network: dict[str, str], building: Path, tmp_path: Path
) -> None:
    """One build serves all: it takes longest."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "main.py").write_text("import torch; print(torch.__version__)\n")
    out = prepared.out("dockerfile")
    contexts = {"": out, "app": code, "wheels": prepared.wheels}
    with _hub() as hub:
        machine = {**network, "PATH": _PATH, "HOME": "/root", "HF_ENDPOINT": hub.url}
        builder = Builder(building, contexts, machine)
        image = builder.build(out / "Dockerfile")
    builder = Builder(builder.folder, {}, {}, stages=builder.stages)
    opened(builder, image)

    told = out.with_suffix(".told").read_text()
    assert "layer: models: all files of 1 model" in told
    assert "expected size, without your code" in told
    docker_starts_it(prepared, builder, image)
    compose_starts_it(prepared, builder, image)
    an_editor_starts_it(prepared, builder, image)
    pods_start_it(prepared, builder, image, tmp_path)
    every_node_is_looked_at(prepared, builder, image, tmp_path)
    models_come_into_memory(prepared, builder, image, tmp_path)


def docker_starts_it(prepared: Prepared, builder: Builder, image: Stage) -> None:
    """By nobody of importance, with models."""
    assert image.user == "10001:10001"
    how: dict[str, Any] = {"user": image.user, "cwd": image.workdir}
    ran = builder.run(image, [*image.entrypoint, "python", "main.py"], **how)
    assert (ran.returncode, ran.stdout.strip()) == (0, prepared.torch), ran.stderr
    look = "id -u; ls $HF_HUB_CACHE; cat $HF_HUB_CACHE/*/*/*/config.json"
    seen = builder.run(image, [*image.entrypoint, "sh", "-c", look], **how)
    assert seen.stdout.startswith("10001\n"), seen.stderr
    assert "models--org--tiny-bert" in seen.stdout
    assert '"model_type": "bert"' in seen.stdout
    healthy = builder.run(image, image.healthcheck, **how)
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr


def compose_starts_it(prepared: Prepared, builder: Builder, image: Stage) -> None:
    """Its image is this one; what it may write goes to memory, and its health is good."""
    ours, theirs = (prepared.out(name) / "Dockerfile" for name in ("dockerfile", "compose"))
    assert ours.read_text() == theirs.read_text()
    service = prepared.yaml("compose", "compose.yaml")["services"]["app"]
    (how, *test) = service["healthcheck"]["test"]
    assert how == "CMD"
    healthy = ended(compose_command(service, builder, image, test))
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    writes = "touch /tmp/x ~/x && ! touch /app/x 2>/dev/null && python main.py"
    command = [*image.entrypoint, "sh", "-euc", writes]
    ran = ended(compose_command(service, builder, image, command))
    assert (ran.returncode, ran.stdout.strip()) == (0, prepared.torch), ran.stderr


def an_editor_starts_it(prepared: Prepared, builder: Builder, image: Stage) -> None:
    """The stage it names is there, and its user; the environment is found to be good."""
    text = (prepared.out("devcontainer") / "devcontainer.json").read_text()
    document = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    stage = builder.stages[document["build"]["target"]]
    who = builder.run(stage, ["id", "-u", document["remoteUser"]], user="0:0")
    assert f"{who.stdout.strip()}:{who.stdout.strip()}" == image.user
    opened(builder, stage)
    done = builder.run(stage, document["postStartCommand"], user=image.user, cwd=stage.workdir)
    assert done.returncode == 0, done.stdout + done.stderr
    python = document["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    ran = builder.run(stage, [python, "-c", "import torch"], user=image.user)
    assert ran.returncode == 0, ran.stderr


def pods_start_it(prepared: Prepared, builder: Builder, image: Stage, folder: Path) -> None:
    """The init container finds nothing wrong, and the Job then runs the image's program."""
    spec = prepared.yaml("image", "job.yaml")["spec"]["template"]["spec"]
    pod = Pod(spec, builder, image, folder / "job")
    verified = ended(pod.command("verify"))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    asked = [*image.entrypoint, "sh", "-c", "python main.py && echo $HF_HUB_CACHE && touch x"]
    ran = ended(pod.command("main", asked))
    assert ran.stdout.splitlines() == [prepared.torch, "/opt/models"], ran.stderr
    assert "Read-only file system" in ran.stderr
    started = ended(pod.command("main"))
    assert (started.returncode, started.stderr) == (0, "")


def every_node_is_looked_at(
    prepared: Prepared, builder: Builder, image: Stage, folder: Path
) -> None:
    """Ready where all is well; else the log says what is not, in one sentence."""
    spec = prepared.yaml("image", "verify-daemonset.yaml")["spec"]["template"]["spec"]
    for is_good in (True, False):
        pod = Pod(spec, builder, image, folder / f"node-{is_good}")
        command = pod.command("verify")
        if not is_good:
            found = builder.run(image, ["sh", "-c", "ls /opt/env/lib/*/*/torch/version.py"], **_AT)
            broken = f"mount --bind /dev/null {builder.folder}/root{found.stdout.strip()}\n"
            command[-1] = command[-1].replace("mount -o remount", f"{broken}mount -o remount", 1)
        ready = pod.container("verify")["readinessProbe"]["exec"]["command"]
        said = _looped(command, pod.folder / "tmp" / "good", is_good=is_good)
        probed = ended(pod.command("verify", ready))
        assert (probed.returncode == 0) == is_good
        assert ("problem" in said) == (not is_good), said


_AT: dict[str, Any] = {"user": "0:0"}


def _looped(command: Sequence[str], good: Path, *, is_good: bool) -> str:
    """Start it, wait for its first verdict, and end it as Kubernetes does."""
    log = good.parent.with_suffix(".log")
    with log.open("w") as out:
        running = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and running.poll() is None:
                if good.exists() if is_good else "check" in log.read_text():
                    break
                time.sleep(0.1)
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) == 0, log.read_text()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
    return log.read_text()


def models_come_into_memory(
    prepared: Prepared, builder: Builder, image: Stage, folder: Path
) -> None:
    """From the claim that prefill-job.yaml filled; where it is not, the log says so."""
    spec = prepared.yaml("memory", "deployment.yaml")["spec"]["template"]["spec"]
    claim = folder / "claim"
    claim.mkdir()
    os.chown(claim, -1, spec["securityContext"]["fsGroup"])
    claim.chmod(0o2775)
    pod = Pod(spec, builder, image, folder / "memory", {"shared": claim})
    empty = ended(pod.command("fill"))
    assert empty.returncode != 0
    assert f"/shared/views/{prepared.name}/" in empty.stderr
    models_are_fetched(prepared, builder, image, folder, claim)
    for _ in range(2):  # a container that was cut off is started again, in the same pod
        filled = ended(pod.command("fill"))
        assert (filled.returncode, filled.stderr) == (0, "")
    look = "cat /opt/models/*/*/*/config.json; touch /opt/models/x"
    seen = ended(pod.command("main", ["sh", "-c", look]))
    assert '"model_type": "bert"' in seen.stdout
    assert "Read-only file system" in seen.stderr


def models_are_fetched(
    prepared: Prepared, builder: Builder, image: Stage, folder: Path, claim: Path
) -> None:
    """By prefill-job.yaml, though the image itself asks no hub."""
    text = (prepared.out("memory") / "prefill-job.yaml").read_text()
    files, job = YAML(typ="safe").load_all(text)
    locked = folder / "locked"
    locked.mkdir()
    for name, content in files["data"].items():
        (locked / name).write_text(content)
    given = {"shared": claim, "locked": locked}
    with _hub() as hub:
        asking = replace(image, env={**image.env, "HF_ENDPOINT": hub.url})
        spec = job["spec"]["template"]["spec"]
        fetched = ended(Pod(spec, builder, asking, folder / "fetch", given).command("prefill"))
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr


# --- Apptainer --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_definition_is_built_tested_and_run(
    prepared: Prepared, network: dict[str, str], building: Path
) -> None:
    """Nothing of the one who builds gets in but what is named for it; anybody runs it."""
    builder = Builder(building, {}, {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"})
    links = f"{network.get('PIP_FIND_LINKS', '')} /wheels".strip()
    with _hub() as hub:
        seen = {**network, "PIP_FIND_LINKS": links, "HF_ENDPOINT": hub.url}
        given = {f"APPTAINERENV_{name}": value for name, value in seen.items()}
        runner = Runner(builder, given, {"/wheels": prepared.wheels})
        image = runner.build(prepared.out("apptainer") / f"{prepared.name}.def")
    opened(builder, image)

    how: dict[str, Any] = {"user": "64210:64210", "mounts": "mount -t tmpfs tmpfs @ROOT@/tmp"}
    tested = runner.run(image, "test", **how)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    look = "import os, torch; print(torch.__version__, os.environ['CONDA_PREFIX'], os.getuid())"
    ran = runner.run(image, "runscript", "python", "-c", look, **how)
    assert ran.stdout.split() == [prepared.torch, "/opt/env", "64210"], ran.stderr
    config = "cat $HF_HUB_CACHE/*/*/*/config.json && ! ls -d /opt/store /var/cache/envforge"
    models = runner.run(image, "runscript", "sh", "-c", config, **how)
    assert models.returncode == 0, models.stdout + models.stderr
    assert '"model_type": "bert"' in models.stdout
