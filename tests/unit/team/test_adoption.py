"""What somebody else's environment comes to in environment.yml."""

from __future__ import annotations

import pytest
from fakes.conda_solver import package

from envforge.formats.conda.conda_spec import format_dependency
from envforge.model.imported import ImportedEnvironment
from envforge.model.lock import Lock, LockedPackage
from envforge.model.spec import Dependency
from envforge.team import adoption


def wheel(name: str, version: str, *depends: str) -> LockedPackage:
    return LockedPackage(
        platform="linux-64",
        name=name,
        manager="pip",
        version=version,
        url="",
        sha256="",
        depends=depends,
    )


def locked(*packages: LockedPackage) -> Lock:
    return Lock(packages=packages, platforms=("linux-64",), channels=(), content_hash={})


def lines(environment: ImportedEnvironment, *, wheels: bool = False) -> list[str]:
    found = adoption.direct(environment, "linux-64", wheels=wheels)
    return [format_dependency(item) for item in (*found.conda, *found.pip)]


@pytest.mark.parametrize(
    ("environment", "origin", "name"),
    [
        ("nlp", "/x/environment.yml", "nlp"),
        ("nlp-torch20-cu118", "/x/y", "nlp"),
        ("", "/srv/My Project/requirements.txt", "my-project"),
        ("default", "/srv/proj/envs/environment.yml", "proj"),
        ("", "/srv/proj/speech-torch2.0.1-cu118.conda-lock.yml", "speech"),
        ("base", "/opt/conda", "opt"),
        ("", "/", "adopted"),
        ("Über", "/x", "ber"),
    ],
)
def test_a_project_is_named_by_what_says_most(environment: str, origin: str, name: str) -> None:
    assert adoption.project_name(environment, origin) == name


@pytest.mark.parametrize(
    ("environment", "name"),
    [("default", "lib"), ("gpu", "lib"), ("cuda-12", "lib"), ("train", "lib-train")],
)
def test_pixis_environments_are_parts_of_a_project(environment: str, name: str) -> None:
    assert adoption.project_name(environment, "/x/lib/pixi.lock", is_pixi=True) == name


def test_what_nothing_depends_on_is_what_was_asked_for() -> None:
    lock = locked(
        package("python", "3.10.1"),
        package("pytorch", "2.0.1", depends=("python >=3.10", "numpy")),
        package("numpy", "1.26.4", depends=("python", "libblas 3.9.*")),
        package("libblas", "3.9.0"),
        package("pandas", "2.1", depends=("numpy >=1",)),
        package("_libgcc_mutex", "0.1"),
        package("own-tool", "1", channel="own"),
        wheel("accelerate", "0.20", "psutil"),
        wheel("psutil", "5.9"),
        wheel("nvidia-cublas-cu11", "11.1"),
    )

    environment = ImportedEnvironment(name="", lock=lock)
    assert lines(environment) == ["pandas=2.1", "own::own-tool=1", "accelerate==0.20"]


def test_what_only_a_local_package_needs_is_carried_over() -> None:
    lock = locked(wheel("own", "1", "rich >=13"), wheel("rich", "13.7"))

    assert lines(ImportedEnvironment(name="", lock=lock, local=("own",))) == ["rich==13.7"]


def test_what_was_asked_for_gets_the_locked_version_and_keeps_its_range() -> None:
    environment = ImportedEnvironment(
        name="",
        lock=locked(
            package("numpy", "1.26.4"), package("scipy", "1.11.4"), wheel("x", "1.0+cu118")
        ),
        dependencies=(
            Dependency(name="numpy", version=">=1.2", build="py*", channel="conda-forge"),
            Dependency(name="scipy", version="=1.11.4"),
            Dependency(name="elsewhere", version="=3", channel="own"),
            Dependency(name="x", manager="pip"),
            Dependency(name="y", manager="pip", version="==2+cu118"),
        ),
    )
    found = adoption.direct(environment, "linux-64", wheels=True)

    assert [(format_dependency(item), item.comment) for item in (*found.conda, *found.pip)] == [
        ("numpy=1.26.4", "asked: >=1.2"),
        ("scipy=1.11.4", None),
        ("own::elsewhere=3", None),
        ("x==1.0", "asked: any"),
        ("y==2", None),
    ]


def test_an_address_is_carried_over_without_credentials() -> None:
    wish = Dependency(name="rich", manager="pip", url="https://user:secret@h/rich-1.0.whl#a=b")
    found = adoption.direct(
        ImportedEnvironment(name="", dependencies=(wish,)), "linux-64", wheels=True
    )

    assert [item.url for item in found.pip] == ["https://h/rich-1.0.whl#a=b"]
    assert found.not_carried == ("the credentials of `rich`'s address: keep them out of files",)


def test_two_managers_of_one_package_are_one() -> None:
    environment = ImportedEnvironment(
        name="",
        dependencies=(
            Dependency(name="numpy"),
            Dependency(name="numpy", manager="pip"),
            Dependency(name="torchvision", manager="pip"),
            Dependency(name="triton", manager="pip"),
        ),
    )
    conda = adoption.direct(environment, "linux-64", wheels=False)

    assert lines(environment, wheels=True) == ["numpy", "torchvision"]
    assert (len(conda.conda), len(conda.pip)) == (1, 0)
    assert conda.not_carried == (
        "the wheel `numpy`: it is a conda package already",
        "the wheel `torchvision`: torch is a conda package here",
    )


def test_dependencies_speak_of_torch_as_packages_would() -> None:
    environment = ImportedEnvironment(
        name="",
        channels=("pytorch",),
        indexes=("https://other.example/simple", "https://download.pytorch.org/whl/cu118"),
        dependencies=(
            Dependency(name="pytorch", version="=2.0.1", build="*cuda11.8*"),
            Dependency(name="numpy", version=">=1,<2"),
            Dependency(name="torch", version="==2.0.1", manager="pip"),
            Dependency(
                name="vision", manager="pip", url="https://x/vision-1%2Bcu118-py3-none-any.whl#a=b"
            ),
        ),
    )
    pytorch, numpy, torch, vision = adoption.as_packages(environment, "linux-64")

    assert (pytorch.version, pytorch.build) == ("2.0.1", "_cuda11.8_")
    assert "/pytorch/" in pytorch.url
    assert numpy.version == ""
    assert torch.url == "https://download.pytorch.org/whl/cu118/"
    assert vision.version == "1+cu118"


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("https://conda.anaconda.org/nvidia/label/cuda-11.8.0/", "nvidia/label/cuda-11.8.0"),
        ("https://conda.anaconda.org/t/to-ken/own", "own"),
        ("https://user:word@repo.example/own/", "https://repo.example/own"),
        ("https://repo.anaconda.com/pkgs/main", "defaults"),
        ("conda-forge", "conda-forge"),
        ("https://user:word@[broken/own", "https://[broken/own"),
    ],
)
def test_channels_are_named_without_credentials(channel: str, name: str) -> None:
    assert adoption.channel_name(channel) == name


def test_only_other_peoples_channels_are_added() -> None:
    given = ("conda-forge", "own", "https://conda.anaconda.org/own/", "defaults", "nodefaults")

    assert adoption.foreign_channels(given) == ("own",)


def test_what_is_lost_is_told_without_secrets() -> None:
    environment = ImportedEnvironment(
        name="",
        channels=("defaults", "https://user:word@repo.example/own", "conda-forge"),
        indexes=("https://user:word@pypi.example/simple", "https://pypi.org/simple"),
        local=("own",),
        notes=("a note",),
    )
    told = tuple(adoption.lost_on_the_way(environment))

    assert told[0] == "a note"
    assert told[1].startswith("`own`: a folder or repository")
    assert "terms of use" in told[2]
    assert told[3].startswith("the credentials of channel `https://repo.example/own`")
    assert told[4].startswith("wheel index `https://pypi.example/simple`")
    assert len(told) == 5
    assert "word" not in " ".join(told)


def test_a_pin_gives_way_in_steps() -> None:
    pin = Dependency(name="numpy", version="=1.26.4")
    minor = adoption.loosened(pin)

    assert minor is not None
    assert (minor.version, minor.comment) == ("=1.26", "was 1.26.4")
    free = adoption.loosened(minor)
    assert free is not None
    assert (free.version, free.comment) == ("", "was 1.26.4")
    assert adoption.loosened(free) is None
    wish = adoption.loosened(Dependency(name="x", version="==1.2.3", manager="pip"))
    assert wish is not None
    assert wish.version == "==1.2.*"


@pytest.mark.parametrize(
    ("version", "there", "fitting"),
    [
        ("=1.26.4", {"1.26.4"}, "=1.26.4"),
        ("=1.26.4", {"1.26.1", "2.0"}, "=1.26"),
        ("=1.26.4", {"1.2"}, ""),
        (">=1", {"1.2"}, ">=1"),
        ("", {"1.2"}, ""),
        ("=1.26.4", set(), None),
    ],
)
def test_a_pin_stays_as_narrow_as_what_is_there(
    version: str, there: set[str], fitting: str | None
) -> None:
    found = adoption.fitting(Dependency(name="numpy", version=version), there)

    assert (found.version if found else None) == fitting


def test_a_solvers_reasons_name_packages() -> None:
    text = "libtorch 2.1 would require Numpy >=1.2; scikit-learn 1.5. is left"

    assert adoption.mentioned(text, {"numpy", "scikit-learn", "torch"}) == {"numpy", "scikit-learn"}


def test_lines_that_our_files_cannot_hold_are_known() -> None:
    assert adoption.written(Dependency(name="numpy", version="=1.26")) == "numpy=1.26"
    assert adoption.written(Dependency(name="numpy", build="py(3)")) is None
    assert adoption.written(Dependency(name="x", manager="pip", version="=1")) is None
