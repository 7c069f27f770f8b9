"""Activation of an environment points clients to its view."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import make_settings
from fakes.workplace import NAME, fake_forge, make_environment, workplace_of

from envforge.adapters.users import folder_of
from envforge.forge import Forge
from envforge.forge.caching import activating
from envforge.forge.workplace import Workplace


def workplace(folder: Path) -> Workplace:
    return Workplace(settings=make_settings(folder, views=folder / "views"))


def test_without_a_view_nothing_is_set(tmp_path: Path) -> None:
    assert activating.variables(workplace(tmp_path), "nlp", tmp_path) == {}


def test_the_view_is_ours(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    view = tmp_path / "views/env" / folder_of(os.geteuid()) / "nlp"
    view.mkdir(parents=True)
    (tmp_path / "views/env/another-user/cv").mkdir(parents=True)

    assert activating.variables(place, "nlp", tmp_path)["HF_HUB_CACHE"] == str(view)
    assert activating.variables(place, "cv", tmp_path) == {}
    old = tmp_path / "lib/python3.8/site-packages/transformers-4.18.0.dist-info"
    old.mkdir(parents=True)
    assert activating.variables(place, "nlp", tmp_path)["TRANSFORMERS_CACHE"] == str(view)
    view.with_name("nlp.flat").mkdir()
    assert activating.variables(place, "nlp", tmp_path)["TRANSFORMERS_CACHE"] == f"{view}.flat"


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    forge = fake_forge(tmp_path, environment={"HOME": str(tmp_path), "PATH": "/usr/bin"})
    make_environment(forge)
    forge.install("p")
    place = workplace_of(forge)
    place.settings = replace(place.settings, views=tmp_path / "views")
    (tmp_path / "views/env" / folder_of(os.geteuid()) / NAME).mkdir(parents=True)
    return forge


def test_activation_sets_them(forge: Forge) -> None:
    code = forge.activate("p", shell="bash")  # noqa: S604 - which shell, not whether

    assert "export HF_HUB_CACHE=" in code
    assert "export HUGGINGFACE_HUB_CACHE=" in code
    assert "unset HF_HUB_CACHE" in code


def test_run_sets_them_and_the_environments_own_win(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setattr(
        "envforge.forge.prefixes.entering.become", lambda *args: seen.update(args[2])
    )
    prefix = forge.settings.prefixes / NAME
    state = '{"env_vars": {"HF_HUB_CACHE": "/mine"}}'
    (prefix / "conda-meta/state").write_text(state)

    forge.run("p", ["/bin/true"])

    assert seen["HF_HUB_CACHE"] == "/mine"
    assert seen["HUGGINGFACE_HUB_CACHE"].endswith(f"/{NAME}")
