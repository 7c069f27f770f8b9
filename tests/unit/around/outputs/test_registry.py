"""Every output, whoever wrote its template: pinned, deterministic, without secrets, as recorded."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import pytest
from fakes.outputs import GIVEN, IMAGE, subject_for, written

from envforge.around.outputs import registry as outputs
from envforge.around.outputs.registry import OUTPUTS, answers
from envforge.errors import InvalidValue
from envforge.formats.text.secret_shapes import SHAPED, USER_PART
from envforge.model.outputs import Field, Output, OutputFile

GOLDEN: Final = Path(__file__).parents[3] / "data" / "exports"
VARIANTS: Final = {
    "dockerfile": {"baked": {"bake-models": "all"}, "tokenizers": {"bake-models": "tokenizers"}},
    "apptainer": {"baked": {"bake-models": "all"}},
    "compose": {"mounted": {"models": "/srv/views/x"}},
    "devcontainer": {"mounted": {"models": "/srv/views/x"}},
    "kubernetes": {
        "memory": {"models": "memory", "module": "app.serve", "health": "/health"},
        "nfs": {"models": "nfs", "nfs-server": "files.example.org", "nfs-path": "/export/models"},
    },
    "slurm": {"chosen": {"gpus": "4", "partition": "gpu", "hub": "/srv/views/x"}},
    "systemd": {"chosen": {"user": "ml", "hub": "/srv/views/x"}},
    "onboarding": {"shared": {"shared": "/srv/envs", "store": "/srv/models"}},
}
"""Settings besides the defaults that change what is written."""
CASES: Final = [
    (name, variant) for name in OUTPUTS for variant in ("plain", "cpu", *VARIANTS.get(name, {}))
]
RECORDED: Final = [case for case in CASES if case[0] != "onboarding" or case[1] == "plain"]
"""The onboarding script is long, and two of its lines are all that its settings change."""


_ELSEWHERE: Final = "envforge-requirements.txt"
"""The same in every image, and as long as all others together."""


def texts(name: str, variant: str) -> dict[str, str]:
    about = subject_for()
    if variant == "cpu":
        about = subject_for(
            cuda="", min_driver="", architectures=(), models=(), hub_variables={}, models_digest=""
        )
    files = written(name, VARIANTS.get(name, {}).get(variant, {}), about)
    return {item: file.text for item, file in files.items()}


@pytest.mark.parametrize(("name", "variant"), RECORDED)
def test_as_recorded(name: str, variant: str) -> None:
    """`ENVFORGE_TEST_GOLDEN=write pytest` records anew; the difference is for the reviewer."""
    folder = GOLDEN / name / variant
    found = {item: text for item, text in texts(name, variant).items() if item != _ELSEWHERE}
    if name != "dockerfile":
        found.pop("Dockerfile", None)  # of the same template, recorded there
    if os.environ.get("ENVFORGE_TEST_GOLDEN") == "write":
        for item, text in found.items():
            (folder / item).parent.mkdir(parents=True, exist_ok=True)
            (folder / item).write_text(text)
    recorded = {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == recorded


def test_settings_of_onboarding_are_two_values() -> None:
    plain, cpu, shared = (
        texts("onboarding", variant)["onboarding.sh"].splitlines()
        for variant in ("plain", "cpu", "shared")
    )
    assert cpu == plain
    assert len(shared) == len(plain)
    changed = [new for old, new in zip(plain, shared, strict=True) if old != new]
    assert changed == ["store='/srv/models'", "shared='/srv/envs'"]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_the_same_environment_gives_the_same_bytes(name: str, variant: str) -> None:
    assert texts(name, variant) == texts(name, variant)


_UNPINNED: Final = (
    r"\blatest\b",
    r"^\s*FROM (?!scratch\b|\S+@sha256:[0-9a-f]{64}\b|tool\b|runtime\b)",
    r"^\s*From: (?!\S+@sha256:[0-9a-f]{64}$)",
    r"^\s*(?:- )?image: (?!\S+(?:@sha256:[0-9a-f]{64}|:lock-[0-9a-f]{12})[\"']?$)",
    r"\b(?:apt|apt-get|apk|dnf|yum) (?:-\S+ )*install\b",
    r"\b(?:conda|mamba|micromamba) (?:install|create)\b(?!.*--file)",
    r"\b(?:pip|uv pip|pipx) install\b(?![^\n]*(?:==|--require-hashes|-r ))",
    r"\bcurl\b[^\n|]*\|\s*(?:ba)?sh\b",
)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_nothing_is_unpinned(name: str, variant: str) -> None:
    for item, text in texts(name, variant).items():
        joined = re.sub(r"\\\n\s*", " ", text)
        for pattern in _UNPINNED:
            for found in re.finditer(pattern, joined, re.MULTILINE):
                line = joined[: found.start()].count("\n")
                whole = joined.splitlines()[line]
                assert whole.lstrip().startswith("#"), (item, whole)
                assert "latest" not in whole, (item, whole)


@pytest.mark.parametrize(
    "text", ["FROM python:3.12", "image: nginx", "pip install torch", "x:latest"]
)
def test_what_is_unpinned_is_seen(text: str) -> None:
    """The patterns above find what they are for."""
    assert any(re.search(pattern, text, re.MULTILINE) for pattern in _UNPINNED)


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_no_secret_no_clock_no_place_of_this_machine(name: str, variant: str) -> None:
    for item, text in texts(name, variant).items():
        plain = re.sub(r"(?:sha256:)[0-9a-f]{64}", "", text)
        assert not SHAPED.search(plain), item
        assert not USER_PART.search(plain), item
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", plain), item
        assert str(Path.home()) not in text, item
        assert os.uname().nodename not in plain or os.uname().nodename == "localhost", item


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_it_must_be_given_is_asked_for(name: str) -> None:
    needed = [item.name for item in OUTPUTS[name].fields if item.default is None]
    assert sorted(needed) == sorted(GIVEN.get(name, {}).keys() & needed)
    for field in needed:
        left = {key: value for key, value in GIVEN[name].items() if key != field}
        with pytest.raises(InvalidValue, match=f"without `{field}`") as caught:
            answers(OUTPUTS[name], left)
        assert f"--set {field}=" in str(caught.value.hint)


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_setting_has_a_default_of_its_kind(name: str) -> None:
    for item in OUTPUTS[name].fields:
        if item.default:
            assert answers(OUTPUTS[name], {**GIVEN.get(name, {}), item.name: item.default})


# --- answers ----------------------------------------------------------------------------------


def asked(field: Field, value: str) -> str:
    output = Output(
        name="o", about="x", files=(OutputFile(template="o.j2", name="o"),), fields=(field,)
    )
    return answers(output, {field.name: value})[field.name]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("path", "/srv/a b", ("srv", "/srv/../etc", "/a\nb", "~/x")),
        ("image", IMAGE, ("python", "python:3.12", "python@sha256:12", "a b@sha256:" + "1" * 64)),
        ("number", "12", ("-1", "1.5", "01", "", "x", "1" * 30)),
        ("size", "16Gi", ("0", "16", "16 Gi", "Gi") and ("0", "16 Gi", "Gi")),
        ("name", "gpu_4-x", ("", "a b", "-x", "a;b", "a\n")),
        ("text", "a 'b' $(c)", ("a\nb", "\x1b[2J")),
    ],
)
def test_a_value_is_of_its_kind(kind: str, good: str, bad: tuple[str, ...]) -> None:
    field = Field(name="f", about="x", default="d", kind=kind)  # type: ignore[arg-type]
    assert asked(field, good) == good
    for value in bad:
        with pytest.raises(InvalidValue, match="setting `f`") as caught:
            asked(field, value)
        assert str(caught.value).isprintable()


def test_a_choice_is_one_of_them() -> None:
    field = Field(name="f", about="x", default="a", kind="choice", choices=("a", "b"))
    assert asked(field, "b") == "b"
    with pytest.raises(InvalidValue, match="is none of a, b"):
        asked(field, "c")


def test_an_empty_default_can_be_asked_for() -> None:
    assert not asked(Field(name="f", about="x", kind="path"), "")


def test_an_unknown_setting_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidValue, match="`colour`") as caught:
        answers(OUTPUTS["dockerfile"], {"colour": "red"})
    assert "base-image" in str(caught.value.hint)


def test_an_own_template_is_given_what_it_is_told() -> None:
    own = outputs.own("motd.txt")
    assert answers(own, {"colour": "red"}) == {"colour": "red"}
    assert own.files[0].template == "motd.txt.j2"
    with pytest.raises(InvalidValue, match="no name of a template"):
        outputs.own("../x")
