"""Formats are told by what a text holds, then by the file's name."""

from __future__ import annotations

import pytest

from envforge.errors import InvalidFile
from envforge.formats.source_kind import kind_of


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("# x\n@EXPLICIT\nhttps://x\n", "requirements.txt", "explicit"),
        ('lock-version = "1.0"\n', "x", "pylock.toml"),
        ("version: 6\nenvironments:\n  default:\npackages: []\n", "x.yml", "pixi.lock"),
        ("version: 1\nmetadata:\npackage:\n- name: x\n  dependencies:\n", "x", "conda-lock.yml"),
        ("package: []\nversion: 1\n", "x", "conda-lock.yml"),
        ('[workspace]\nchannels = ["conda-forge"]\n', "x", "pixi.toml"),
        ("[tool.pixi.project]\nname = 'x'\n", "pyproject.toml", "pixi.toml"),
        ("name: x\ndependencies:\n  - python\n", "anything", "environment.yml"),
        ("ARG X=1\nFROM x\n", "build", "Dockerfile"),
        ("numpy==1.26 --hash=sha256:1\n", "req.txt", "requirements.txt"),
        ("torch>=2\n", "requirements-dev.in", "requirements.txt"),
        ("https://x/linux-64/a-1-0.conda\n", "explicit.txt", "explicit"),
        ("broken: [\n", "conda-lock.yml", "conda-lock.yml"),
        ("broken: [\n", "gpu.environment.yml", "environment.yml"),
        ("broken = [\n", "pixi.toml", "pixi.toml"),
    ],
)
def test_the_format_is_found(text: str, name: str, kind: str) -> None:
    assert kind_of(text, f"some/folder/{name}") == kind


@pytest.mark.parametrize("name", ["notes.md", "x.yml", "x.toml", "x"])
def test_anything_else_is_refused_with_what_can_be_read(name: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        kind_of("{ nothing of ours }\n", name)

    assert "pixi.lock" in str(caught.value.hint)
