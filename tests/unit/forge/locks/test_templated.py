"""`Forge.export` of what templates write."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.exported import models, subject
from fakes.workplace import NAME, fake_forge, make_environment, workplace_of

from envforge.around.outputs.registry import OUTPUTS
from envforge.errors import InvalidFile, InvalidValue
from envforge.forge import Forge
from envforge.forge.locks import templated
from envforge.formats.models import models_lock_yml


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path, templates=tmp_path / "templates")


@pytest.fixture
def folder(forge: Forge) -> Path:
    return make_environment(forge)


def test_a_folder_to_build_from(forge: Forge, folder: Path, tmp_path: Path) -> None:
    export = forge.export("p", "dockerfile")
    paths = forge.write_export(export, tmp_path / "out")

    assert sorted(str(path.relative_to(tmp_path / "out")) for path in paths) == [
        "Dockerfile",
        "envforge-requirements.txt",
        f"{NAME}/conda-lock.yml",
        f"{NAME}/environment.yml",
        f"{NAME}/virtual-packages.yml",
    ]
    copied = tmp_path / "out" / NAME / "conda-lock.yml"
    assert copied.read_bytes() == (folder / "conda-lock.yml").read_bytes()
    assert [item.what.split(",")[0] for item in export.layers][-1] == "the environment"
    assert export.platforms == ("linux-64",)
    assert forge.export(str(folder), "dockerfile") == export


def test_models_are_baked(forge: Forge, folder: Path) -> None:
    (folder / "models-lock.yml").write_text(models_lock_yml.write(models()))
    export = forge.export("p", "dockerfile", given={"bake-models": "tokenizers"})

    [lock] = [item.text for item in export.files if item.name.endswith("models-lock.yml")]
    assert "safetensors" not in lock
    assert export.layers[-1].what == "models: tokenizers and configurations of 2 models"


def test_secrets_stay_where_they_are(forge: Forge) -> None:
    variables = {
        "WANDB_API_KEY": "abc",
        "PROXY": "http://me:pw@host",
        "PLAIN": "1",
        "T": "hf_" + "a" * 20,
    }
    found, [loss] = templated.subject_of(subject(variables=variables), "linux-64")

    assert found.variables == {"PLAIN": "1"}
    assert loss.names == ("PROXY", "T", "WANDB_API_KEY")


@pytest.mark.parametrize(
    ("variable", "held"),
    [
        ("WANDB_API_KEY: abc", "WANDB_API_KEY"),
        ("PROXY: http://me:pw@proxy.example.org", "line 4"),
        ("MAX_TOKENS: '512'", ""),
        ("WANDB_API_KEY: $WANDB_API_KEY", ""),
    ],
)
def test_no_image_carries_a_secret_in_its_sources(
    forge: Forge, folder: Path, variable: str, held: str
) -> None:
    """environment.yml is the user's own, and goes into the image as it is."""
    path = folder / "environment.yml"
    text = path.read_text().replace("channels:\n", f"variables:\n  {variable}\nchannels:\n", 1)
    path.write_text(text)
    forge.lock("p")
    assert forge.export("p", "lmod", given={"prefix": "/srv/p"}).files
    if held:
        with pytest.raises(InvalidValue, match=f"environment.yml` would hold a secret: {held}"):
            forge.export("p", "dockerfile")
    else:
        assert forge.export("p", "dockerfile").files


def test_what_templates_know(forge: Forge) -> None:
    found, _ = templated.subject_of(subject(), "linux-64")

    assert (found.torch, found.cuda, found.python) == ("2.7.1", "12.6", "3.11.9")
    assert found.docker_platform == "linux/amd64"
    assert found.tag == f"lock-{found.digest[:12]}"
    assert found.models_size == sum(item.size for item in found.models)
    assert found.hub("/v")["HF_HUB_CACHE"] == "/v"
    assert found.wheels == 3
    assert found.digest != templated.subject_of(subject(), "win-64")[0].digest


def test_a_lock_that_knows_nothing_of_torch(forge: Forge) -> None:
    bare = subject(models=None)
    found, _ = templated.subject_of(replace(bare, lock=replace(bare.lock, target=None)), "linux-64")
    assert (found.torch, found.cuda, found.min_driver, found.hub_variables) == ("", "", "", {})
    assert not found.has_gpu


@pytest.mark.parametrize("version", ["4.21.3", "4.22.0"])
def test_old_transformers(version: str) -> None:
    from fakes.exported import conda

    given = subject()
    packages = (*given.lock.packages, conda("transformers", version))
    lock = replace(given.lock, packages=tuple(sorted(packages)))
    found, _ = templated.subject_of(replace(given, lock=lock), "linux-64")
    assert found.needs_flat == (version == "4.21.3")
    assert (found.hub("/v")["TRANSFORMERS_CACHE"] == "/v.flat") == found.needs_flat


def test_a_platform_that_images_have_not(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidValue, match="`win-64` is not locked"):
        forge.export("p", "dockerfile", platforms=["win-64"])


def test_another_tool_s_lock_is_no_folder_to_build_from(
    forge: Forge, folder: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "x.conda-lock.yml"
    alone.write_bytes((folder / "conda-lock.yml").read_bytes())
    with pytest.raises(InvalidValue, match="no folder of ours") as caught:
        forge.export(str(alone), "dockerfile")
    assert "adopt" in str(caught.value.hint)


# --- templates of one's own -------------------------------------------------------------------


def own(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "templates" / "exports").mkdir(parents=True, exist_ok=True)
    (tmp_path / "templates" / "exports" / f"{name}.j2").write_text(text)


def test_an_own_template_takes_the_place_of_ours(
    forge: Forge, folder: Path, tmp_path: Path
) -> None:
    own(tmp_path, "dockerfile", "FROM {{ base | plain }}\nLABEL a={{ env.name | dockerfile }}\n")
    export = forge.export("p", "dockerfile")
    [text] = [item.text for item in export.files if item.name == "Dockerfile"]
    assert text.endswith(f'\nLABEL a="{NAME}"\n')


def test_a_template_of_a_new_name(forge: Forge, folder: Path, tmp_path: Path) -> None:
    own(tmp_path, "motd.json", '{"env": {{ env.name | json }}, "to": {{ set["who"] | json }}}')
    export = forge.export("p", "motd.json", given={"who": 'a"b'})
    assert (export.target, [item.name for item in export.files]) == ("motd.json", ["motd.json"])
    assert json.loads(export.files[0].text) == {"env": NAME, "to": 'a"b'}


def test_a_template_that_asks_for_too_much(forge: Forge, folder: Path, tmp_path: Path) -> None:
    own(tmp_path, "x", "{{ env.colour | json }}")
    with pytest.raises(InvalidFile, match=r"x\.j2"):
        forge.export("p", "x")


def test_a_name_of_neither(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidValue, match="is no format") as caught:
        forge.export("p", "motd")
    assert "templates/exports/motd.j2" in str(caught.value.hint)
    with pytest.raises(InvalidValue, match="is no format") as caught:
        forge.export("p", "../motd")
    assert "motd.j2" not in str(caught.value.hint)


def test_settings_of_what_has_none(forge: Forge, folder: Path) -> None:
    with pytest.raises(InvalidValue, match="`explicit` has no settings"):
        forge.export("p", "explicit", given={"a": "b"})


def test_scripts_can_be_started(forge: Forge, folder: Path, tmp_path: Path) -> None:
    export = forge.export("p", "dockerfile")
    script = replace(export.files[0], name="run.sh", executable=True)
    [path] = forge.write_export(replace(export, files=(script,)), tmp_path / "run.sh")
    assert path.stat().st_mode & 0o777 == 0o755


def test_a_kernel_without_ipykernel_does_not_start(forge: Forge) -> None:
    from fakes.exported import conda

    without = subject()
    jupyter = OUTPUTS["jupyter"]
    given = {"prefix": "/srv/p"}
    *_, loss = templated.export(workplace_of(forge), jupyter, without, given=given).losses
    assert loss.what.startswith("ipykernel, without which it does not start: `envforge add ")

    packages = tuple(sorted((*without.lock.packages, conda("ipykernel", "6.29.5"))))
    with_it = replace(without, lock=replace(without.lock, packages=packages))
    found = templated.export(workplace_of(forge), jupyter, with_it, given=given).losses
    assert not [item for item in found if "does not start" in item.what]


def test_files_of_this_machine_are_not_in_an_image(forge: Forge, folder: Path) -> None:
    lock = folder / "conda-lock.yml"
    text = lock.read_text()
    first = re.search(r"url: (https://\S+/linux-64/\S+)", text)
    assert first is not None
    lock.write_text(text.replace(first[1], f"file:///srv/linux-64/{first[1].rpartition('/')[2]}"))

    [loss] = forge.export("p", "dockerfile").losses
    assert "exist on this machine only" in loss.what
    assert len(loss.names) == 1
    assert not forge.export("p", "onboarding", given={"envs": "/srv/envs"}).losses
