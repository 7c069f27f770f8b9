"""What goes into a pack, and what must be in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes.installing import conda_package, wheel

from envforge.model.lock import LockedPackage
from envforge.model.models import LockedModel, ModelFile, ModelRequest, ModelsLock, Repo
from envforge.team import pack_plan
from envforge.team.pack_plan import EnvironmentToPack

NUMPY, PYTHON, SHOUT = conda_package("numpy"), conda_package("python", "3.11"), wheel("shout")


def environment(
    name: str, *packages: LockedPackage, models: ModelsLock | None = None
) -> EnvironmentToPack:
    files = {"environment.yml": f"name: {name}\n", "conda-lock.yml": name}
    return EnvironmentToPack(name=name, files=files, packages=packages, models=models)


def models(**files: str) -> ModelsLock:
    listed = tuple(
        ModelFile(path=path, size=len(sha) // 64 + 4, sha256=sha, blob=sha)
        for path, sha in files.items()
    )
    request = ModelRequest(repo=Repo(id="org/m"))
    return ModelsLock(models=(LockedModel(request=request, commit="c" * 40, files=listed),))


def names(*environments: EnvironmentToPack) -> list[str]:
    return [item.name for item in pack_plan.plan(environments)]


def test_folders_packages_wheels_and_models_in_the_order_of_their_names() -> None:
    found = names(
        environment("b", PYTHON, SHOUT, NUMPY, models=models(config="f" * 64)),
        environment("a", PYTHON, models=models(weights="e" * 64)),
    )

    assert found == [
        "environments/a/environment.yml",
        "environments/a/conda-lock.yml",
        "environments/b/environment.yml",
        "environments/b/conda-lock.yml",
        "packages/linux-64/numpy-1.0-0.conda",
        "packages/linux-64/python-3.11-0.conda",
        "wheels/shout-1.0-py3-none-any.whl",
        f"models/{'e' * 64}",
        f"models/{'f' * 64}",
    ]


def test_the_order_they_are_named_in_counts_nothing() -> None:
    one, two = environment("a", NUMPY, SHOUT), environment("b", SHOUT, PYTHON)

    assert pack_plan.plan([one, two]) == pack_plan.plan([two, one])


def test_files_of_one_name_and_names_that_fit_nowhere_go_by_their_hash() -> None:
    """Two channels may have different archives of one name."""
    other = conda_package("numpy", url=NUMPY.url.replace("conda-forge", "mine"), sha256="d" * 64)
    long = replace(wheel("x"), url=f"https://files.example.org/{'x' * 120}-1.0-py3-none-any.whl")

    found = {
        item.sha256: item.name for item in pack_plan.plan([environment("a", NUMPY, other, long)])
    }

    assert {found[NUMPY.sha256], found["d" * 64]} == {
        "packages/linux-64/numpy-1.0-0.conda",
        f"packages/{min(NUMPY, other, key=lambda item: item.url == NUMPY.url).sha256}",
    }
    assert found[long.sha256] == f"wheels/{long.sha256}"


@pytest.mark.parametrize(
    ("package", "why"),
    [
        (conda_package("a", sha256=""), "without a sha256"),
        (conda_package("a", sha256="X" * 64), "without a sha256"),
        (
            replace(wheel("a"), url="https://files.example.org/a-1.0.tar.gz"),
            "would have to be built",
        ),
        (conda_package("../../a"), "a name that no package has"),
        (conda_package("a", "1/../.."), "a name that no package has"),
        (
            replace(wheel("a"), url="https://files.example.org/..%2F..%2Fa-1.0-py3-none-any.whl"),
            "a name that no package has",
        ),
    ],
)
def test_what_cannot_be_packed_is_told(package: LockedPackage, why: str) -> None:
    [reason] = pack_plan.unfit([NUMPY, package])
    assert why in reason


def test_what_a_pack_lacks_is_named_as_people_know_it() -> None:
    lock = models(config="f" * 64, weights="e" * 64)
    held = {NUMPY.sha256: 1, "f" * 64: 1}

    assert pack_plan.missing([NUMPY, SHOUT], lock, held) == (
        "shout-1.0-py3-none-any.whl",
        "org/m/weights",
    )
    assert pack_plan.missing([NUMPY], None, held) == ()
