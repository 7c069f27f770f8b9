"""Digests of the inputs. That they are conda-lock's is shown in `integration/`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envforge.formats.conda import environment_yml
from envforge.formats.conda_lock.content_hash import (
    VirtualPackages,
    channel_entry,
    content_hashes,
    inputs_digest,
    locked_channels,
)
from envforge.model.spec import Dependency, EnvironmentSpec, VirtualPackage

MACHINES: VirtualPackages = {
    "linux-64": (
        VirtualPackage(name="__cuda", version="11.8"),
        VirtualPackage(name="__archspec", version="1", build="x86_64"),
    )
}
TEXT = """\
name: nlp-bert-torch20-cu118
channels: [nvidia, conda-forge, pytorch, nodefaults]
platforms: [linux-64, win-64]
dependencies:
  - python=3.10
  - pytorch::pytorch=2.0.1=py3.10_cuda11.8*
  - numpy 1.26.*
  - pip:
      - foo>=1,<2; sys_platform == 'linux'
variables: {A: "1"}
"""


def spec(text: str = TEXT) -> EnvironmentSpec:
    return environment_yml.read(text, "environment.yml").spec


def test_conda_locks_hash_is_pinned() -> None:
    """Computed by conda-lock 4.0.3; a change of these makes every lock stale."""
    assert content_hashes(spec(), MACHINES) == {
        "linux-64": "43e774e56bcd6e45cdfb5fa0b8aaf86840392c87c7a1930be412e2db06c61d5b",
        "win-64": "e4d1c312962edbd10f2e203ff8b15c7744637e168acbc8a364dd65f16cfb968a",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("python=3.10", "python 3.10.*"),
        ("numpy 1.26.*", "numpy=1.26  # a comment"),
        ("[nvidia, conda-forge, pytorch, nodefaults]",
         "\n- nvidia\n- conda-forge\n- pytorch\n- nodefaults"),
        ("name: nlp-bert-torch20-cu118", "# a comment\nname: another"),
        ("[linux-64, win-64]", "[win-64, linux-64]"),
        ("  - python=3.10\n  - pytorch::pytorch=2.0.1=py3.10_cuda11.8*\n",
         "  - pytorch::pytorch ==2.0.1 py3.10_cuda11.8*\n  - python=3.10\n"),
    ],
)  # fmt: skip
def test_the_digest_is_over_the_meaning(old: str, new: str) -> None:
    assert old in TEXT

    assert inputs_digest(spec(TEXT.replace(old, new)), MACHINES) == inputs_digest(spec(), MACHINES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("python=3.10", "python=3.11"),
        ("python=3.10", "python==3.10"),
        ("nvidia, conda-forge", "conda-forge, nvidia"),
        ("pytorch::pytorch", "pytorch"),
        ("cuda11.8*", "cuda11.7*"),
        ("foo>=1", "foo>=1.1"),
        ("[linux-64, win-64]", "[linux-64]"),
        ('A: "1"', 'A: "2"'),
    ],
)
def test_the_digest_sees_every_change(old: str, new: str) -> None:
    assert old in TEXT

    assert inputs_digest(spec(TEXT.replace(old, new)), MACHINES) != inputs_digest(spec(), MACHINES)


def test_the_digest_sees_the_machine() -> None:
    other: VirtualPackages = {"linux-64": (replace(MACHINES["linux-64"][0], version="12.1"),)}

    assert inputs_digest(spec(), other) != inputs_digest(spec(), MACHINES)


@pytest.mark.parametrize(
    ("channel", "entry"),
    [
        ("conda-forge", ("conda-forge", ())),
        ("https://h.org/c", ("https://h.org/c", ())),
        ("https://h.org/t/$TOKEN/c", ("https://h.org/t/${TOKEN}/c", ("TOKEN",))),
        ("https://h.org/t/${TOKEN}/c", ("https://h.org/t/${TOKEN}/c", ("TOKEN",))),
        ("https://h.org/t/tk-1/c", ("https://h.org/t/tk-1/c", ())),
        ("https://$U:$P@h.org:80/c", ("https://${U}:${P}@h.org:80/c", ("P", "U"))),
        ("https://$U@h.org/c", ("https://${U}@h.org/c", ("U",))),
    ],
)
def test_channels_with_environment_variables(
    channel: str, entry: tuple[str, tuple[str, ...]]
) -> None:
    assert channel_entry(channel) == entry


def test_a_build_alone_asks_for_any_version() -> None:
    """`write` puts `name=*=build` into the file, and that is what conda-lock reads."""
    alone = replace(spec(), dependencies=(Dependency(name="a", build="b*"),))
    written = environment_yml.read(environment_yml.write(alone), "x").spec

    assert content_hashes(alone, MACHINES) == content_hashes(written, MACHINES)


def test_nodefaults_is_no_channel() -> None:
    assert locked_channels(["a", "nodefaults", "b"]) == ["a", "b"]
