"""What a bill of materials holds."""

from __future__ import annotations

from dataclasses import replace

from fakes.exported import PLATFORMS, conda, lock, models, subject, wheel, with_packages

from envforge.model.inventory import Inventory, Part
from envforge.team import inventory


def part(found: Inventory, name: str, platform: str = "linux-64") -> Part:
    [one] = [item for item in found.parts if item.name == name and platform in item.platforms]
    return one


def needs(found: Inventory, name: str) -> list[str]:
    """Names of the parts that one needs."""
    names = {item.key: item.name for item in found.parts}
    return sorted(names[key] for key in part(found, name).needs)


def test_every_package_and_model_is_there_once() -> None:
    found = inventory.take(subject(), PLATFORMS)

    addresses = {item.url for item in lock().packages}
    assert {item.url for item in found.parts if item.platforms} == addresses
    assert len(found.parts) == len(addresses) + len(models().models)
    assert part(found, "six").platforms == PLATFORMS
    assert part(found, "numpy").platforms == ("linux-64",)
    assert [item.key for item in found.parts] == sorted({item.key for item in found.parts})


def test_a_conda_package_and_a_wheel() -> None:
    found = inventory.take(subject(), PLATFORMS)
    six, torch, filelock = (part(found, name) for name in ("six", "torch", "filelock"))

    assert (six.kind, six.version) == ("conda", "1.17.0")
    assert six.qualifiers == {
        "build": "pyhd8ed1ab_0",
        "channel": "conda-forge",
        "subdir": "noarch",
        "type": "tar.bz2",
    }
    assert six.hashes.keys() == {"md5", "sha256"}
    assert torch.qualifiers == {
        "file_name": "torch-2.7.1+cu126-cp311-cp311-linux_x86_64.whl",
        "download_url": torch.url,
    }
    assert filelock.qualifiers == {"file_name": "filelock-3.18.0-py3-none-any.whl"}


def test_ties_cross_from_wheels_to_conda_packages() -> None:
    found = inventory.take(subject(), PLATFORMS)

    assert needs(found, "torch") == ["filelock", "numpy"]
    assert needs(found, "numpy") == ["python", "python_abi"]
    assert needs(found, "six") == []


def test_ties_follow_the_names_that_wheels_use() -> None:
    """A wheel asks for `torch` and `Typing_Extensions[x]`; conda calls them otherwise."""
    given = with_packages(
        conda("pytorch"),
        wheel("typing-extensions", "4.0", "https://h/t-4.0-py3-none-any.whl"),
        wheel(
            "a",
            "1.0",
            "https://h/a-1.0-py3-none-any.whl",
            depends=("torch >=2", "Typing_Extensions[x] >=4 ; python_version < '3.12'", "gone"),
        ),
    )

    found = inventory.take(given, ["linux-64"])

    assert needs(found, "a") == ["pytorch", "typing-extensions"]


def test_models_and_their_files() -> None:
    found = inventory.take(subject(), PLATFORMS)
    [model] = [item for item in found.parts if item.kind == "model"]

    assert (model.name, model.version) == ("Org/Bert-Base", "a" * 40)
    assert [(item.name, item.size) for item in model.parts] == [
        ("config.json", 570),
        ("sub dir/model.safetensors", 4096),
    ]
    assert model.size == 4666
    assert [item.kind for item in found.parts if "org/corpus" in item.key] == ["dataset"]


def direct(found: Inventory) -> set[str]:
    names = {item.key: item.name for item in found.parts}
    return {names[key] for key in found.direct}


def test_what_was_asked_for() -> None:
    found = inventory.take(subject(), PLATFORMS)

    asked = {"python", "numpy", "helper", "torch", "filelock", "triton"}
    assert direct(found) == asked | {"Org/Bert-Base", "org/corpus"}


def test_what_was_asked_for_is_guessed_where_it_is_not_known() -> None:
    found = inventory.take(subject(spec=None, models=None), ["win-64"])

    assert direct(found) == {"helper", "torch"}


def test_the_digest_hangs_on_everything_and_on_nothing_else() -> None:
    given = subject()
    shuffled = replace(given, lock=replace(given.lock, packages=given.lock.packages[::-1]))
    digests = [
        inventory.take(item, PLATFORMS).digest
        for item in (given, shuffled, replace(given, name="z"), replace(given, models=None))
    ]

    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert inventory.take(given, ["linux-64"]).digest != digests[0]


def test_what_it_is_for() -> None:
    found = inventory.take(subject(), PLATFORMS)

    assert found.properties["envforge:cuda"] == "12.6"
    assert found.properties["envforge:architectures"] == "8.0 9.0"
    foreign = replace(subject(), lock=replace(lock(), target=None))
    assert inventory.take(foreign, PLATFORMS).properties == {}
