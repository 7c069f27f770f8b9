"""The Job that fetches models into a claim: its own commands, in order, from its own files."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e.world import Place, World
from fakes import tiny_model
from fakes.local_hub import LocalHub
from ruamel.yaml import YAML

IMAGE = "registry.example.org/team/x@sha256:" + "5" * 64
TOOL = shutil.which("envforge")


def exported(place: Place, world: World) -> tuple[str, list[dict[str, Any]]]:
    """The environment's name, and the two objects: the files that are locked, and the Job."""
    torch = world.build("pytorch_cpu")
    name = torch.name("p")
    place.good("lock", "p", *torch.options, "--model", "org/tiny-bert")
    out = place.folder / "out"
    place.good("export", name, "--to", "kubernetes", "--set", f"image={IMAGE}", "-o", f"{out}/")
    return name, list(YAML(typ="safe").load_all(out / "prefill-job.yaml"))


@pytest.mark.skipif(TOOL is None, reason="envforge is not on the PATH")
def test_it_fills_the_claim_and_goes_on_where_it_was_cut_off(place: Place, world: World) -> None:
    claim, locked, scratch = (place.folder / name for name in ("shared", "locked", "scratch"))
    with LocalHub() as hub:
        hub.add("org/tiny-bert", tiny_model.tiny_bert(seed=1))
        place.variables["HF_ENDPOINT"] = hub.url
        name, (files, job) = exported(place, world)
        for folder in (claim, locked, scratch):
            folder.mkdir()
        for file, text in files["data"].items():
            (locked / file).write_text(text)
        container = job["spec"]["template"]["spec"]["containers"][0]
        at = {"/tmp/envs": scratch / "envs", "/shared": claim, "/locked": locked}  # noqa: S108 - the pod's
        command = container["command"]
        for inside, here in at.items():
            command = [word.replace(inside, str(here)) for word in command]
        variables = {
            **place.environment(),
            "PATH": f"{Path(str(TOOL)).parent}:{os.environ['PATH']}",
            "HOME": str(scratch),
        }
        for _ in range(2):  # a Job is tried again, and finds what is there
            done = subprocess.run(
                command, env=variables, capture_output=True, text=True, check=False, timeout=300
            )
            assert done.returncode == 0, done.stderr
        fetched = hub.payload_bytes

    mounted = claim / "views" / name / "models"
    config = mounted / "models--org--tiny-bert" / "snapshots"
    (snapshot,) = config.iterdir()
    assert '"model_type": "bert"' in (snapshot / "config.json").read_text()
    assert fetched < 2 * sum(f.stat().st_size for f in snapshot.iterdir())
    paths = {item["subPath"] for item in volume_mounts(place)}
    assert paths == {f"views/{name}/models"}


def volume_mounts(place: Place) -> list[dict[str, Any]]:
    """What the Deployment mounts of the claim."""
    deployment = YAML(typ="safe").load(place.folder / "out" / "deployment.yaml")
    (main,) = deployment["spec"]["template"]["spec"]["containers"]
    return [item for item in main["volumeMounts"] if item["name"] == "shared"]
