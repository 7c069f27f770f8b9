"""pixi.lock and pixi.toml."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import yaml
from fakes.exported import FORGE, PLATFORMS, conda, lock

from envforge.formats.pixi import pixi_writer
from envforge.formats.pixi.pixi_writer import Manifest, Wish, write_lock, write_manifest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CHANNELS = ("https://conda.example.org/team/tools", FORGE)


def test_a_lock_as_plain_yaml() -> None:
    packages = lock().packages
    tree = yaml.safe_load(write_lock(packages, channels=CHANNELS, platforms=PLATFORMS))

    [(name, environment)] = tree["environments"].items()
    assert (tree["version"], name) == (6, "default")
    assert [item["url"] for item in environment["channels"]] == [f"{url}/" for url in CHANNELS]
    assert environment["indexes"] == [pixi_writer.PYPI]
    for platform in PLATFORMS:
        found = {
            (kind, url) for item in environment["packages"][platform] for kind, url in item.items()
        }
        assert found == {
            ("conda" if item.manager == "conda" else "pypi", item.url)
            for item in packages
            if item.platform == platform
        }
    by_url = {item.get("conda") or item["pypi"]: item for item in tree["packages"]}
    assert len(by_url) == len(tree["packages"]) == len({item.url for item in packages})
    for item in packages:
        assert by_url[item.url]["sha256"] == item.sha256
        depends = "depends" if item.manager == "conda" else "requires_dist"
        assert tuple(by_url[item.url].get(depends, ())) == item.depends


def test_the_same_lock_gives_the_same_bytes() -> None:
    packages = lock().packages

    texts = {
        write_lock(given, channels=CHANNELS, platforms=names)
        for given in (packages, packages[::-1])
        for names in (PLATFORMS, PLATFORMS[::-1])
    }

    assert len(texts) == 1


def test_what_is_not_known_is_left_out() -> None:
    bare = replace(conda("a", constrains=("b <1",)), md5="", sha256="", size=None)
    tree = yaml.safe_load(write_lock([bare], channels=(), platforms=("linux-64", "win-64")))

    assert tree["packages"] == [{"conda": bare.url, "constrains": ["b <1"]}]
    assert tree["environments"]["default"] == {
        "channels": [],
        "packages": {"linux-64": [{"conda": bare.url}], "win-64": []},
    }
    empty = yaml.safe_load(write_lock([], channels=(), platforms=()))
    assert empty["packages"] == []


def test_a_manifest() -> None:
    manifest = Manifest(
        name="x",
        channels=("conda-forge",),
        platforms=("linux-64", "win-64"),
        wishes=(
            Wish(name="python", fields={"version": "==3.11.9"}),
            Wish(name="numpy", fields={"version": ">=1,<2", "build": "py311*"}),
            Wish(name="a.b", manager="pip", fields={"version": "*", "extras": ("c", "d")}),
            Wish(name="torch", manager="pip", fields={"url": "https://h/t"}, platform="win-64"),
        ),
        requirements={"libc": "2.28", "cuda": "12.6"},
        variables={"A": 'quo"ted'},
    )

    assert tomllib.loads(write_manifest(manifest)) == {
        "workspace": {
            "name": "x",
            "channels": ["conda-forge"],
            "platforms": ["linux-64", "win-64"],
            "channel-priority": "strict",
        },
        "system-requirements": {"cuda": "12.6", "libc": "2.28"},
        "dependencies": {
            "python": "==3.11.9",
            "numpy": {"version": ">=1,<2", "build": "py311*"},
        },
        "pypi-dependencies": {"a.b": {"version": "*", "extras": ["c", "d"]}},
        "target": {"win-64": {"pypi-dependencies": {"torch": {"url": "https://h/t"}}}},
        "activation": {"env": {"A": 'quo"ted'}},
    }


@pytest.mark.parametrize("wishes", [(), (Wish(name="a", fields={"version": "*"}),)])
def test_tables_that_hold_nothing_are_not_written(wishes: tuple[Wish, ...]) -> None:
    text = write_manifest(Manifest(name="x", channels=(), platforms=(), wishes=wishes))

    assert tomllib.loads(text).keys() == {"workspace", *(["dependencies"] if wishes else [])}
