"""Objects of Kubernetes: held against the published schema, and what is true of each of them."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
import yaml
from fakes.outputs import subject_for, written
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.around.outputs.kubernetes import capability_majors, object_name
from envforge.errors import InvalidValue
from envforge.model.outputs import Subject

CPU = {"cuda": "", "min_driver": "", "architectures": ()}
MODELS: dict[str, dict[str, str]] = {
    "pvc": {},
    "nfs": {"models": "nfs", "nfs-server": "files.example.org", "nfs-path": "/export/models"},
    "memory": {"models": "memory"},
    "image": {"models": "image"},
    "none": {"models": "none"},
}


def objects(given_: dict[str, str] | None = None, env: Subject | None = None) -> dict[str, Any]:
    """By file, then by kind."""
    found = written("kubernetes", given_ or {}, env)
    return {
        name: {item["kind"]: item for item in yaml.safe_load_all(file.text)}
        for name, file in found.items()
    }


def every(found: dict[str, Any]) -> list[Any]:
    return [item for file in found.values() for item in file.values()]


def pods(found: dict[str, Any]) -> list[Any]:
    return [item["spec"]["template"]["spec"] for item in every(found) if "spec" in item]


def containers(pod: Any) -> list[Any]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


@pytest.mark.parametrize("version", ["1.25", "1.37"])
@pytest.mark.parametrize("env", [{}, CPU, {"needs_flat": True}], ids=["gpu", "cpu", "flat"])
@pytest.mark.parametrize("models", MODELS)
def test_the_published_schema_takes_it(models: str, env: dict[str, Any], version: str) -> None:
    """Strict: a field that the schema does not know is a mistake."""
    import kubernetes_validate

    settings_ = {**MODELS[models], "module": "app.serve", "health": "/health"}
    for item in every(objects(settings_, subject_for(**env))):
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schema_sees_mistakes() -> None:
    import kubernetes_validate

    wrong = objects()["deployment.yaml"]["Deployment"]
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.31", strict=True)


@pytest.mark.parametrize("models", MODELS)
def test_nobody_is_root_and_nothing_is_writable(models: str) -> None:
    for pod in pods(objects(MODELS[models])):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        for container in containers(pod):
            limits = container["securityContext"]
            assert limits["capabilities"] == {"drop": ["ALL"]}
            assert limits["allowPrivilegeEscalation"] is False
            assert limits["readOnlyRootFilesystem"] is True
            assert "memory" in container["resources"]["limits"]
            assert re.search("@sha256:[0-9a-f]{64}$", container["image"])


_RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
"""Kubernetes documentation, Pod Security Standards, profile `restricted`."""


@pytest.mark.parametrize("models", MODELS)
def test_pod_security_restricted_admits_it_or_the_file_says_what_does(models: str) -> None:
    """What it says of containers is above; NFS is a kind of volume that it never admits."""
    for file, kinds in objects(MODELS[models]).items():
        for pod in pods({file: kinds}):
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            kinds_of = {key for item in pod["volumes"] for key in item} - {"name"}
            refused = kinds_of - _RESTRICTED_VOLUMES
            assert refused <= {"nfs"}
            text = written("kubernetes", MODELS[models])[file].text
            assert ("`restricted` refuses" in text) == bool(refused)


@pytest.mark.parametrize("models", MODELS)
def test_what_is_mounted_is_a_volume_and_models_are_read_only(models: str) -> None:
    for file, kinds in objects(MODELS[models]).items():
        for pod in pods({file: kinds}):
            volumes = {item["name"] for item in pod["volumes"]}
            mounts = [mount for item in containers(pod) for mount in item["volumeMounts"]]
            assert {item["name"] for item in mounts} == volumes
            hub = [item for item in mounts if item["mountPath"].startswith("/opt/models")]
            assert all(item["readOnly"] for item in hub)
            serves = file in {"deployment.yaml", "job.yaml"}
            assert bool(hub) == (serves and models in {"pvc", "nfs", "memory"})


def test_a_copy_in_memory_counts_against_the_limit() -> None:
    plain, copied = objects(), objects(MODELS["memory"])
    size = subject_for().models_size
    [volume] = [item for item in pods(copied)[0]["volumes"] if item["name"] == "models"]
    room = int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi"))
    assert room * 2**20 > size
    both = [
        int(pods(found)[0]["containers"][0]["resources"]["limits"]["memory"].removesuffix("Mi"))
        for found in (plain, copied)
    ]
    assert both[1] - both[0] == room
    assert [item["name"] for item in pods(copied)[0]["initContainers"]] == ["fill", "verify"]


def test_a_gpu_is_asked_for_by_those_that_use_it_only() -> None:
    found = objects({"gpus": "2"})
    for file, count in (("deployment.yaml", 2), ("job.yaml", 2), ("verify-daemonset.yaml", None)):
        for container in containers(pods({file: found[file]})[0]):
            assert container["resources"]["limits"].get("nvidia.com/gpu") == count
    verify = containers(pods({"d": found["deployment.yaml"]})[0])[0]
    assert verify["command"][-1] == "--require-gpu"


def test_a_cpu_build_wants_no_gpu_nodes() -> None:
    text = "".join(file.text for file in written("kubernetes", {}, subject_for(**CPU)).values())
    assert "nvidia" not in text.lower()
    assert "--require-gpu" not in text
    with pytest.raises(InvalidValue, match="CPU build"):
        objects({"gpus": "1"}, subject_for(**CPU))


def test_without_models_there_is_nothing_to_fetch_and_asking_for_them_is_refused() -> None:
    none = subject_for(models=(), hub_variables={}, models_digest="")
    assert "prefill-job.yaml" not in objects({}, none)
    assert "prefill-job.yaml" not in objects({"models": "image"})
    with pytest.raises(InvalidValue, match=r"no models-lock\.yml"):
        objects({"models": "pvc"}, none)
    with pytest.raises(InvalidValue, match="needs a server and a path"):
        objects({"models": "nfs"})


def test_the_locked_models_travel_with_the_job_that_fetches_them() -> None:
    env = subject_for()
    config = objects()["prefill-job.yaml"]["ConfigMap"]
    assert config["data"]["models-lock.yml"] == env.files["models-lock.yml"]
    assert config["immutable"] is True
    other = objects({}, subject_for(models_digest="0" * 64))["prefill-job.yaml"]["ConfigMap"]
    assert other["metadata"]["name"] != config["metadata"]["name"]


def test_more_locked_files_than_a_config_map_holds_are_refused() -> None:
    env = subject_for()
    large = subject_for(files={**env.files, "models-lock.yml": "#" * (1 << 20)})
    with pytest.raises(InvalidValue, match="ConfigMap"):
        objects({}, large)
    assert "prefill-job.yaml" not in objects({"models": "image"}, large)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("claim", "a/b"),
        ("claim", "A"),
        ("runtime-class", "x y"),
        ("module", "a; b"),
        ("module", "--version"),
        ("port", "0"),
        ("port", "65536"),
        ("uid", "0"),
        ("uid", "4294967296"),
    ],
)
def test_what_no_cluster_takes_is_refused(name: str, value: str) -> None:
    with pytest.raises(InvalidValue, match=f"setting `{name}`"):
        objects({name: value})


@pytest.mark.parametrize("name", ["nlp-bert-torch27-cu126", "a"])
def test_a_name_that_is_a_label_stays(name: str) -> None:
    assert object_name(name) == name


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_name_is_a_label_and_no_other_s(one: str, two: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", object_name(one))
    assert one == two or object_name(one) != object_name(two)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
@settings(deadline=None, max_examples=60)
def test_a_name_is_an_argument_and_nothing_more(name: str) -> None:
    found = objects({}, subject_for(name=name))
    verify = containers(pods({"d": found["deployment.yaml"]})[0])[0]
    assert expanded(verify["command"][2]) == name
    prefill = found["prefill-job.yaml"]["Job"]["spec"]["template"]["spec"]["containers"][0]
    assert [expanded(item) for item in prefill["command"][-2:]] == [name, object_name(name)]
    assert prefill["command"][2] == script_of_prefill()


@functools.cache
def script_of_prefill() -> str:
    """That of an environment with a plain name."""
    job = objects()["prefill-job.yaml"]["Job"]
    script: str = job["spec"]["template"]["spec"]["containers"][0]["command"][2]
    return script


def expanded(argument: str) -> str:
    """As the kubelet does it: `$$` is a `$`, and `$(NAME)` of an unknown variable stays."""
    return re.sub(r"\$\$", "$", argument)


@pytest.mark.parametrize(
    ("architectures", "majors"),
    [
        (("7.5", "8.0", "8.6", "10.0"), ("7", "8", "10")),
        (("8.0", "12.0+PTX"), ()),
        ((), ()),
    ],
)
def test_gpus_that_a_build_runs_on(architectures: tuple[str, ...], majors: tuple[str, ...]) -> None:
    assert capability_majors(architectures) == majors
