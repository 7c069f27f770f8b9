"""`adopt`: what is found, what it becomes, which pins hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.conda_solver import package
from fakes.workplace import FakeWorkplace, WheelShelf, fake_forge, workplace_of

from envforge.adapters.environments import CONDA_LOCK_YML, ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML
from envforge.errors import EnvironmentExists, InvalidFile, InvalidValue, NoMatchingBuild
from envforge.forge import Forge
from envforge.formats.conda_lock import conda_lock_yml
from envforge.model.adoption import AdoptResult
from envforge.model.lock import Lock, LockedPackage

CONDA = """\
name: {name}
channels: [conda-forge, own]
dependencies:
  - python=3.10
  - pytorch=2.7.1=cuda126*
  - numpy=1.26.4
"""


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    return fake_forge(tmp_path)


@pytest.fixture
def place(forge: Forge) -> FakeWorkplace:
    return workplace_of(forge)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder


def adopt(forge: Forge, source: Path, text: str, name: str, **options: Any) -> AdoptResult:
    (source / name).write_text(text)
    return forge.adopt(str(source / name), **options)


def lines(result: AdoptResult) -> list[str]:
    text = result.files[ENVIRONMENT_YML]
    body = text.partition("dependencies:\n")[2]
    return [line.strip().removeprefix("- ") for line in body.splitlines()]


def their_lock(*packages: LockedPackage, platforms: tuple[Any, ...] = ("linux-64",)) -> str:
    return conda_lock_yml.write(
        Lock(
            packages=packages,
            platforms=platforms,
            channels=("conda-forge",),
            content_hash=dict.fromkeys(platforms, "a" * 64),
        )
    )


def test_an_environment_yml_becomes_a_folder_that_is_current(
    forge: Forge, source: Path, place: FakeWorkplace
) -> None:
    result = adopt(forge, source, CONDA.format(name="nlp"), "environment.yml")

    assert result.name == "nlp-torch27-cu126"
    assert (result.choice.torch, str(result.choice.cuda)) == ("2.7.1", "12.6")
    assert result.choice.python == "3.10"
    assert result.kept == ("numpy",)
    assert set(result.files) == {ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML, CONDA_LOCK_YML}
    assert forge.show("nlp-torch27-cu126").stale == ()
    assert (result.folder / CONDA_LOCK_YML).read_text() == result.files[CONDA_LOCK_YML]


def test_nothing_is_written_in_a_dry_run(forge: Forge, source: Path) -> None:
    result = adopt(forge, source, CONDA.format(name="nlp"), "environment.yml", dry_run=True)

    assert result.outcome == "planned"
    assert not result.folder.exists()


def test_a_name_that_is_taken_is_refused(forge: Forge, source: Path) -> None:
    adopt(forge, source, CONDA.format(name="nlp"), "environment.yml")

    with pytest.raises(EnvironmentExists, match="exists already") as caught:
        adopt(forge, source, CONDA.format(name="nlp"), "environment.yml")
    assert caught.value.hint == "`--name PROJECT` makes another one, `--force` replaces it"
    again = adopt(forge, source, CONDA.format(name="nlp"), "environment.yml", force=True)
    assert again.outcome == "written"


def test_a_pin_that_is_gone_gives_way_and_is_told(forge: Forge, source: Path) -> None:
    text = CONDA.format(name="nlp").replace("numpy=1.26.4", "numpy=1.26.0\n  - gone=1.0")
    result = adopt(forge, source, text, "environment.yml")

    assert result.lock is not None
    assert [(item.name, item.was, item.became) for item in result.changed] == [
        ("numpy", "1.26.0", "1.26.4"),
        ("gone", "1.0", ""),
    ]
    assert "no channel has it" in result.changed[1].reason
    assert "numpy=1.26.4  # asked: =1.26; was 1.26.0" in lines(result)
    assert not any("gone" in line for line in lines(result))


def test_pins_that_do_not_fit_together_give_way(tmp_path: Path, source: Path) -> None:
    new = package("scipy", "1.15", depends=("numpy >=2",))
    forge = fake_forge(tmp_path, packages=(new,))
    text = CONDA.format(name="nlp") + "  - scipy=1.15\n"

    result = adopt(forge, source, text, "environment.yml")

    assert result.lock is not None
    assert result.kept == ("scipy",)
    assert [(item.name, item.became) for item in result.changed] == [("numpy", "2.2.6")]
    assert "does not fit the rest" in result.changed[0].reason


def test_what_never_fits_is_written_without_a_lock(tmp_path: Path, source: Path) -> None:
    stuck = package("stuck", "1.0", depends=("nowhere",))
    forge = fake_forge(tmp_path, packages=(stuck,))
    text = CONDA.format(name="nlp") + "  - stuck=1.0\n"

    result = adopt(forge, source, text, "environment.yml")

    assert result.lock is None
    assert "nowhere" in result.unsolved
    assert result.unchecked == ""
    assert set(result.files) == {ENVIRONMENT_YML, VIRTUAL_PACKAGES_YML}
    assert "stuck=1.0" in lines(result)


def test_out_of_reach_the_pins_stay_and_it_is_said(
    forge: Forge, source: Path, place: FakeWorkplace
) -> None:
    place.conda.unreachable = "https://conda.anaconda.org"
    text = CONDA.format(name="nlp").replace("numpy=1.26.4", "numpy=1.0.0")

    result = adopt(forge, source, text, "environment.yml")

    assert result.lock is None
    assert "nothing answers there" in result.unchecked
    assert result.kept == ("numpy",)
    assert "numpy=1.0.0" in lines(result)


def test_nothing_is_asked_without_a_lock(forge: Forge, source: Path, place: FakeWorkplace) -> None:
    result = adopt(forge, source, CONDA.format(name="nlp"), "environment.yml", lock=False)

    assert place.conda.asked == []
    assert result.unchecked == "that was not asked for"


def test_a_lock_stays_as_it_is_where_it_can(forge: Forge, source: Path) -> None:
    ties = ("python >=3.10,<3.11.0a0", "__cuda", "cuda-version >=12.6,<13")
    text = their_lock(
        package("python", "3.10.14"),
        package("cuda-version", "12.6"),
        package("pytorch", "2.7.1", "cuda126_generic_py310_200", depends=ties),
        package("numpy", "1.26.4"),
    )
    result = adopt(forge, source, text, "speech.conda-lock.yml")

    assert result.name == "speech-torch27-cu126"
    assert (result.same, result.before) == (4, 4)
    assert "numpy=1.26.4" in lines(result)
    assert "python=3.10.14" in lines(result)


def test_an_explicit_list_is_reduced_by_what_the_channel_says(tmp_path: Path, source: Path) -> None:
    top = package("top", "1.0", depends=("numpy",))
    forge = fake_forge(tmp_path, packages=(top,))
    urls = [
        f"https://conda.anaconda.org/conda-forge/linux-64/{name}.conda"
        for name in (
            "python-3.10.14-h0_0",
            "pytorch-2.7.1-cuda126_generic_py310_200",
            "numpy-1.26.4-h0_0",
            "top-1.0-h0_0",
        )
    ]
    result = adopt(forge, source, "@EXPLICIT\n" + "\n".join(urls) + "\n", "explicit.txt")

    assert result.name == "theirs-torch27-cu126"
    assert result.kept == ("top",)
    assert result.same == 4  # numpy was preferred, though nobody asks for it


def test_a_full_export_is_reduced_the_same_way(tmp_path: Path, source: Path) -> None:
    """`conda env export` lists everything, and says neither addresses nor what needs what."""
    small = [package(f"small{number}", "1.0") for number in range(10)]
    top = package("top", "1.0", depends=("numpy", *(item.name for item in small)))
    forge = fake_forge(tmp_path, packages=(top, *small))
    everything = [
        "python=3.10.14=h0_0",
        "pytorch=2.7.1=cuda126_generic_py310_200",
        "numpy=1.26.4=h0_0",
        "top=1.0=h0_0",
        *(f"{item.name}=1.0=h0_0" for item in small),
    ]
    text = "name: old\nchannels: [defaults]\ndependencies:\n" + "".join(
        f"  - {line}\n" for line in everything
    )
    result = adopt(forge, source, text, "environment.yml")

    assert result.kept == ("top",)
    assert (result.same, result.before) == (14, 14)
    alone = adopt(forge, source, text, "environment.yml", lock=False, project="alone")
    assert len(alone.kept) == 12


def test_an_explicit_list_out_of_reach_is_kept_whole(
    forge: Forge, source: Path, place: FakeWorkplace
) -> None:
    place.conda.unreachable = "https://conda.anaconda.org"
    base = "https://conda.anaconda.org/conda-forge/linux-64"
    text = (
        f"@EXPLICIT\n{base}/pytorch-2.7.1-cuda126_generic_py310_200.conda\n{base}/numpy-1-0.conda\n"
    )

    assert adopt(forge, source, text, "explicit.txt").kept == ("numpy",)


def test_requirements_become_wheels(forge: Forge, source: Path, place: FakeWorkplace) -> None:
    text = """\
--extra-index-url https://download.pytorch.org/whl/cu126
torch==2.7.1
torchvision==0.22.1+cu126
rich==13.7.0
nvidia-cublas-cu12==12.6.4.1
-e ./own
"""
    result = adopt(forge, source, text, "requirements.txt")

    assert result.choice.source == "wheels"
    assert result.name == "theirs-torch27-cu126"
    assert result.kept == ("torchvision", "rich")
    assert "rich==13.7.0" in lines(result)
    assert any(line.startswith("pip=") for line in lines(result))
    assert any(item.startswith("`own`") for item in result.not_carried)
    assert isinstance(place.wheels, WheelShelf)
    [asked] = place.wheels.asked
    assert set(asked.requirements) == {"rich==13.7.0"}


def test_wheels_beside_conda_leave_condas_packages_alone(tmp_path: Path, source: Path) -> None:
    forge = fake_forge(tmp_path, packages=(package("rich", "13.7", depends=("python >=3.8",)),))
    text = (
        CONDA.format(name="nlp") + "  - rich\n  - pip:\n    - accelerate==0.20\n    - torchvision\n"
    )
    result = adopt(forge, source, text, "environment.yml")

    place = workplace_of(forge)
    [asked] = place.shelf.asked
    assert asked.provided == ("rich", "torch")
    assert asked.requirements == ("accelerate==0.20",)
    assert "the wheel `torchvision`: torch is a conda package here" in result.not_carried


def test_a_range_of_torch_is_the_newest_in_it(forge: Forge, source: Path) -> None:
    text = "--index-url https://download.pytorch.org/whl/cpu\ntorch>=2.6,<2.8\n"

    assert adopt(forge, source, text, "requirements.txt").choice.torch == "2.7.1"


def test_the_command_line_says_what_the_source_does_not(forge: Forge, source: Path) -> None:
    text = "name: base\nchannels: [conda-forge]\ndependencies: [python, numpy]\n"

    with pytest.raises(InvalidFile, match="it holds no torch"):
        adopt(forge, source, text, "environment.yml")
    result = adopt(
        forge, source, text, "environment.yml", torch="2.7.1", cuda="12.6", project="mine",
        python="3.10", torch_source="conda-forge",
    )  # fmt: skip
    assert result.name == "mine-torch27-cu126"


def test_a_torch_without_its_cuda_is_not_guessed(forge: Forge, source: Path) -> None:
    text = "name: x\nchannels: [conda-forge]\ndependencies: [pytorch=2.7.1]\n"

    with pytest.raises(InvalidValue, match="does not say which CUDA") as caught:
        adopt(forge, source, text, "environment.yml")
    assert "--cuda" in str(caught.value.hint)
    assert adopt(forge, source, text, "environment.yml", cuda="cpu").choice.cuda is None


def test_a_build_that_nobody_publishes_is_refused(forge: Forge, source: Path) -> None:
    text = "name: x\nchannels: [conda-forge]\ndependencies: [pytorch=2.7.1=*cuda101*]\n"

    with pytest.raises(NoMatchingBuild):
        adopt(forge, source, text, "environment.yml")


def test_platforms_without_the_accelerator_are_left_out(forge: Forge, source: Path) -> None:
    text = CONDA.format(name="nlp") + "platforms: [linux-64, osx-arm64, osx-64]\n"
    result = adopt(forge, source, text, "environment.yml")

    assert result.platforms == ("linux-64",)
    assert any(item.startswith("platform osx-arm64: it has no CUDA") for item in result.not_carried)
    assert any(item.startswith("platform osx-64") for item in result.not_carried)


def test_a_platform_without_that_build_is_left_out(forge: Forge, source: Path) -> None:
    text = CONDA.format(name="nlp").replace("2.7.1=cuda126*", "2.4.1=cuda118*")
    text += "platforms: [linux-64, win-64]\n"
    result = adopt(forge, source, text, "environment.yml", lock=False)

    assert result.platforms == ("linux-64",)
    assert any("there is no torch 2.4.1" in item for item in result.not_carried)


def test_a_channel_that_is_not_carried_over_stands_before_no_package(
    tmp_path: Path, source: Path
) -> None:
    """Else nothing could ever be locked again: the channel is not searched."""
    mirror = tmp_path / "mirror" / "conda-forge"
    mirror.mkdir(parents=True)
    forge = fake_forge(tmp_path, mirror=str(mirror.parent))
    text = CONDA.format(name="nlp").replace("- numpy", "- own::numpy")
    result = adopt(forge, source, text, "environment.yml")

    assert any(item.startswith("channel `own`: ") for item in result.not_carried)
    assert [line for line in lines(result) if "numpy" in line] == ["numpy=1.26.4"]


def test_of_several_environments_the_one_with_torch_is_meant(forge: Forge, source: Path) -> None:
    head = '[workspace]\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
    torch = '[feature.{0}.dependencies]\npytorch = {{version = "2.7.1", build = "{1}*"}}\n'
    gpu, cpu = torch.format("gpu", "cuda126"), torch.format("small", "cpu")
    one = f"{head}{gpu}[environments]\ngpu = ['gpu']\n"
    two = f"{head}{gpu}{cpu}[environments]\ngpu = ['gpu']\nsmall = ['small']\n"

    found = adopt(forge, source, one, "pixi.toml", python="3.10")
    assert (found.environment, found.name) == ("gpu", "theirs-torch27-cu126")
    with pytest.raises(InvalidValue, match="several environments with torch") as caught:
        adopt(forge, source, two, "pixi.toml")
    assert caught.value.hint == f"`{source / 'pixi.toml'}#gpu` names one; others are small"
    small = adopt(forge, source, two, "pixi.toml", environment="small", python="3.10")
    assert small.name == "theirs-small-torch27-cpu"
    named = forge.adopt(f"{source / 'pixi.toml'}#small", project="again", python="3.10")
    assert (named.environment, named.name) == ("small", "again-torch27-cpu")


def test_variables_go_into_the_lock(forge: Forge, source: Path) -> None:
    text = CONDA.format(name="nlp") + "variables: {HF_HUB_OFFLINE: '1'}\n"
    result = adopt(forge, source, text, "environment.yml")

    assert "HF_HUB_OFFLINE: '1'" in result.files[ENVIRONMENT_YML]
    assert result.lock is not None
    assert result.lock.metadata["envforge.variables"] == '{"HF_HUB_OFFLINE": "1"}'


def test_no_secret_reaches_the_folder_or_the_answer(forge: Forge, source: Path) -> None:
    text = CONDA.format(name="nlp").replace(
        "own]", "'https://user:pass-word@repo.example/own', 'https://h.example/t/to-ken/x']"
    )
    result = adopt(forge, source, text, "environment.yml", lock=False)

    told = f"{result}"
    assert "pass-word" not in told
    assert "to-ken" not in told
    assert "https://repo.example/own" in result.files[ENVIRONMENT_YML]
    assert forge.show(result.name).lock is None


def test_a_spec_that_contradicts_torch_is_left_out(forge: Forge, source: Path) -> None:
    text = CONDA.format(name="nlp") + "  - pytorch-gpu\n  - cuda-toolkit-x=1|2\n"
    result = adopt(forge, source, text, "environment.yml", lock=False)

    assert "cuda-toolkit-x" not in " ".join(result.kept)
