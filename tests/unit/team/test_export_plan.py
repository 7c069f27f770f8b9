"""What is written for other tools, and what is said to be missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest
from fakes.exported import (
    FILES,
    FORGE,
    PLATFORMS,
    PRIVATE,
    TORCH_WHEELS,
    conda,
    digest,
    lock,
    subject,
    wheel,
    with_packages,
)
from packaging.pylock import Pylock
from packaging.requirements import Requirement

from envforge.errors import InvalidValue
from envforge.formats.conda import environment_yml, explicit
from envforge.formats.packs import mirror_list
from envforge.model.export import ExportSubject, ExportTarget, Loss
from envforge.team import export_plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def texts(
    target: ExportTarget, given: ExportSubject | None = None, **options: Any
) -> dict[str, str]:
    """The files of an export by name."""
    plan = export_plan.plan(given or subject(), target, **options)
    return {item.name: item.text for item in plan.files}


def losses(target: ExportTarget, given: ExportSubject | None = None) -> dict[str, tuple[str, ...]]:
    """What is said of an export: first words to names."""
    plan = export_plan.plan(given or subject(), target)
    return {item.what.partition(":")[0]: item.names for item in plan.losses}


# --- every format ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://x/rich-1.0-py3-none-any.whl --index-url https://evil"},
        {"url": "https://x/rich-1.0-py3-none-any.whl\n--index-url https://evil"},
        {"url": "https://x/rich-1.0-py3-none-any.whl\t-o\t/etc/passwd"},
        {"url": "https://x/rich-1.0-py3-none-any.whl\u2028https://evil"},
        {"url": "https://x/../../../etc/cron.d/linux-64/rich-1.0-0.conda"},
        {"url": "https://x/a/..%2f..%2f/rich-1.0-0.conda"},
        {"url": "https://x/.."},
        {"name": "rich\nevil"},
        {"name": "../rich"},
        {"version": "1.0 # x"},
        {"version": "1.0\x1b[2J"},
        {"build": "0]\n"},
    ],
)
def test_a_name_or_an_address_is_nothing_more(changes: dict[str, Any]) -> None:
    """A line more of requirements.txt, an option of curl, a folder above the mirror."""
    item = replace(lock().packages[0], **changes)

    with pytest.raises(InvalidValue, match="parts that lead elsewhere") as caught:
        export_plan.prepared(with_packages(item))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["../../../etc/passwd", "a\tb", "a\nb"])
def test_a_file_of_a_model_leads_nowhere_else(path: str) -> None:
    given = subject()
    assert given.models is not None
    [first, *more] = given.models.models
    hostile = replace(first, files=(replace(first.files[0], path=path),))

    with pytest.raises(InvalidValue, match="parts that lead elsewhere"):
        export_plan.prepared(replace(given, models=replace(given.models, models=(hostile, *more))))


def test_an_option_is_no_address() -> None:
    item = replace(lock().packages[0], url="-K/tmp/settings/linux-64/x-1-0.conda?://")

    cleaned, lost = export_plan.prepared(with_packages(item))
    assert cleaned.lock.packages == ()
    assert [loss.names for loss in lost] == [(item.name,)]


@pytest.mark.parametrize("target", export_plan.WRITERS)
def test_the_same_environment_gives_the_same_bytes(target: ExportTarget) -> None:
    shuffled = subject(lock=replace(lock(), packages=lock().packages[::-1]))

    assert texts(target, export_plan.prepared(subject())[0]) == texts(
        target, export_plan.prepared(shuffled)[0]
    )


@pytest.mark.parametrize("target", export_plan.WRITERS)
def test_one_platform_of_two(target: ExportTarget) -> None:
    plan = export_plan.plan(subject(), target, platforms=["win-64"])

    assert plan.platforms == ("win-64",)
    assert "linux" not in "".join(item.name + item.text for item in plan.files)


def test_a_platform_that_is_not_locked() -> None:
    with pytest.raises(InvalidValue, match="`osx-arm64` is not locked") as caught:
        export_plan.plan(subject(), "explicit", platforms=["osx-arm64"])

    assert caught.value.hint == "locked are: linux-64, win-64"


@pytest.mark.parametrize("target", export_plan.WRITERS)
def test_models_that_have_no_place_are_named(target: ExportTarget) -> None:
    said = losses(target).get("models")

    assert said == (None if target == "mirror-list" else ("Org/Bert-Base", "dataset:org/corpus"))


@pytest.mark.parametrize("target", export_plan.WRITERS)
def test_packages_of_this_machine_are_named(target: ExportTarget) -> None:
    local = with_packages(
        conda("python", "3.11.9", channel="file:///home/x/channel"),
        wheel("w", "1.0", "file:///home/x/w-1.0-py3-none-any.whl"),
    )

    assert losses(target, local)["they lie on this machine, and nobody else can fetch them"] == (
        "python",
        "w",
    )


def test_variables_and_the_machine_are_named_where_they_are_lost() -> None:
    assert losses("explicit")["variables that activation sets"] == ("TOKENIZERS_PARALLELISM",)
    assert "variables that activation sets" not in losses("pixi")
    assert "__cuda 12.6" in losses("environment.yml")["the machine it is for"]
    assert "the machine it is for" not in losses("pixi")


# --- what is taken out first ----------------------------------------------------------------


def test_secrets_leave_addresses_and_channels() -> None:
    private = "https://u:hunter2@conda.example.org/t/s3cret/team/tools"
    packages = (conda("a", channel=private), conda("b"))
    given = with_packages(*packages)
    given = replace(given, lock=replace(given.lock, channels=(private, "conda-forge")))

    cleaned, said = export_plan.prepared(given)

    assert {item.channel_url for item in cleaned.lock.packages} == {PRIVATE, FORGE}
    assert cleaned.lock.channels == (PRIVATE, "conda-forge")
    assert said == (Loss(what="credentials were taken out of addresses", names=("a", "channels")),)
    for target in ("explicit", "pixi", "mirror-list", "environment.yml"):
        text = "".join(texts(target, cleaned).values())
        assert "hunter2" not in text
        assert "s3cret" not in text


def test_what_nobody_can_fetch_is_left_out() -> None:
    given = with_packages(conda("a"), wheel("here", "1.0", "."), wheel("gone", "2.0", ""))

    cleaned, said = export_plan.prepared(given)

    assert [item.name for item in cleaned.lock.packages] == ["a"]
    assert [loss.names for loss in said] == [("gone", "here")]


def test_nothing_is_said_where_nothing_went() -> None:
    cleaned, said = export_plan.prepared(subject())

    assert said == ()
    assert cleaned == subject()


# --- explicit -------------------------------------------------------------------------------


def test_explicit_holds_every_conda_package_of_a_platform() -> None:
    found = texts("explicit")

    assert list(found) == [f"conda-{name}.lock" for name in PLATFORMS]
    for platform in PLATFORMS:
        [read] = explicit.read_source(found[f"conda-{platform}.lock"], "x")
        assert read.lock is not None
        assert {(item.name, item.url) for item in read.lock.packages} == {
            (item.name, item.url) for item in lock().for_platform(platform)
        }
    assert losses("explicit")["wheels stand in comments, and conda skips them"] == (
        "filelock",
        "torch",
        "triton",
    )


def test_explicit_says_which_packages_have_no_hash() -> None:
    given = with_packages(replace(conda("a"), md5="", sha256=""), conda("b"))

    assert losses("explicit", given)["no hash is known, so any bytes are accepted"] == ("a",)


# --- environment.yml ------------------------------------------------------------------------


def test_environment_yml_pins_everything() -> None:
    text = texts("environment.yml")["environment-linux-64.yml"]
    read = environment_yml.read(text, "x", need_platforms=False).spec

    assert read.name == "x-torch27-cu126"
    assert read.channels == (PRIVATE, "conda-forge", "nodefaults")
    assert read.variables == {"TOKENIZERS_PARALLELISM": "false"}
    assert "platforms" not in text
    expected = lock().for_platform("linux-64")
    assert {(item.channel, item.name, item.version, item.build) for item in read.conda()} == {
        (
            PRIVATE if item.name == "helper" else "conda-forge",
            item.name,
            f"={item.version}",
            item.build,
        )
        for item in expected
        if item.manager == "conda"
    }
    assert {item.url for item in read.pip()} == {
        f"{item.url}#sha256={item.sha256}" for item in expected if item.manager == "pip"
    }


# --- pixi -----------------------------------------------------------------------------------


def test_pixi_asks_for_what_was_asked_for() -> None:
    manifest = tomllib.loads(texts("pixi")["pixi.toml"])

    assert manifest["workspace"]["channels"] == [PRIVATE, "conda-forge"]
    assert manifest["system-requirements"] == {"cuda": "12.6", "libc": "2.28", "archspec": "x86_64"}
    assert manifest["dependencies"] == {
        "python": "==3.11.9",
        "numpy": {"version": ">=1.26,<2", "build": "py311*"},
        "helper": {"version": "*", "channel": PRIVATE},
    }
    assert manifest["pypi-dependencies"] == {
        "filelock": {"version": "==3.18.0", "extras": ["testing"]}
    }
    by_platform = {name: table["pypi-dependencies"] for name, table in manifest["target"].items()}
    assert by_platform["linux-64"].keys() == {"torch", "triton"}
    assert by_platform["win-64"] == {
        "torch": {"url": f"{TORCH_WHEELS}/torch-2.7.1%2Bcu126-cp311-cp311-win_amd64.whl"}
    }
    assert manifest["activation"]["env"] == {"TOKENIZERS_PARALLELISM": "false"}


def test_pixi_without_a_wish_asks_for_what_no_other_package_needs() -> None:
    found = export_plan.plan(subject(spec=None), "pixi")
    manifest = tomllib.loads(found.files[0].text)

    assert manifest["dependencies"] == {"helper": "==0.2"}
    assert any("what was asked for is not known" in item.what for item in found.losses)


def test_pixi_names_what_its_one_value_cannot_hold() -> None:
    given = subject()
    cuda = replace(given.virtual["win-64"][0], version="12.4")
    given = replace(given, virtual={**given.virtual, "win-64": (cuda,)})

    assert losses("pixi", given)["differ by platform, and pixi.toml has one value"] == ("cuda",)
    assert "cuda" not in tomllib.loads(texts("pixi", given)["pixi.toml"])["system-requirements"]


def test_pixi_names_the_channels_that_packages_come_from() -> None:
    given = with_packages(conda("a"), conda("b", channel=PRIVATE))

    assert tomllib.loads(texts("pixi", given)["pixi.toml"])["workspace"]["channels"] == [
        "conda-forge",
        PRIVATE,
    ]


# --- wheels ---------------------------------------------------------------------------------


def test_pylock_is_one_by_the_reference_reader() -> None:
    """`packaging` validates as PEP 751 asks."""
    document = Pylock.from_dict(tomllib.loads(texts("pylock")["pylock.toml"]))

    assert str(document.requires_python) == "==3.11.*"
    assert [str(item) for item in document.environments or ()] == [
        'sys_platform == "linux" and platform_machine == "x86_64"',
        'sys_platform == "win32" and platform_machine == "AMD64"',
    ]
    by_name = {item.name: item for item in document.packages}
    assert {name: str(item.version) for name, item in by_name.items()} == {
        "filelock": "3.18.0",
        "torch": "2.7.1+cu126",
        "triton": "3.3.1",
    }
    assert len(by_name["torch"].wheels or ()) == 2
    assert len(by_name["filelock"].wheels or ()) == 1
    assert (
        str(by_name["triton"].marker) == 'sys_platform == "linux" and platform_machine == "x86_64"'
    )
    assert by_name["torch"].marker is None
    [found] = by_name["filelock"].wheels or ()
    assert found.hashes == {"sha256": digest(f"{FILES}/filelock-3.18.0-py3-none-any.whl")}


def test_pylock_with_versions_that_differ_by_platform() -> None:
    given = with_packages(
        wheel("a", "1.0", f"{FILES}/a-1.0-py3-none-any.whl"),
        wheel("a", "2.0", f"{FILES}/a-2.0-py3-none-any.whl", platform="win-64"),
    )
    packages = Pylock.from_dict(tomllib.loads(texts("pylock", given)["pylock.toml"])).packages

    here = {"sys_platform": "win32", "platform_machine": "AMD64"}
    assert [
        str(item.version) for item in packages if item.marker and item.marker.evaluate(here)
    ] == ["2.0"]


def test_pylock_keeps_sources_and_leaves_out_what_has_no_hash() -> None:
    given = with_packages(
        wheel("source", "0.3", f"{FILES}/source-0.3.tar.gz"),
        replace(wheel("unsigned", "1.0", f"{FILES}/unsigned-1.0-py3-none-any.whl"), sha256=""),
    )
    [package] = Pylock.from_dict(tomllib.loads(texts("pylock", given)["pylock.toml"])).packages

    assert package.sdist is not None
    assert package.sdist.url == f"{FILES}/source-0.3.tar.gz"
    assert losses("pylock", given)["no sha256 is known, and pylock.toml asks for one"] == (
        "unsigned",
    )


def entries(text: str) -> dict[str, tuple[Requirement, list[str]]]:
    """What pip reads of requirements.txt: each entry with its hashes."""
    lines = [line for line in text.replace(" \\\n", " ").splitlines() if not line.startswith("#")]
    found = {}
    for line in lines:
        head, *hashes = line.split(" --hash=sha256:")
        found[head.strip()] = (Requirement(head.strip()), [item.strip() for item in hashes])
    return found


def test_requirements_name_addresses_where_the_default_index_has_no_such_file() -> None:
    found = list(entries(texts("requirements")["requirements.txt"]).values())

    assert [(item.name, str(item.specifier), bool(item.url)) for item, _ in found] == [
        ("filelock", "==3.18.0", False),
        ("torch", "", True),
        ("torch", "", True),
        ("triton", "==3.3.1", False),
    ]
    markers = [str(item.marker) if item.marker else "" for item, _ in found]
    assert [bool(item) for item in markers] == [False, True, True, True]
    for item, hashes in found[1:3]:
        assert hashes == [digest(str(item.url))]


def test_requirements_say_what_pip_will_refuse() -> None:
    unsigned = replace(wheel("u", "1.0", f"{FILES}/u-1.0-py3-none-any.whl"), sha256="")

    said = losses("requirements", with_packages(unsigned))

    assert said["no sha256 is known, and `--require-hashes` refuses that"] == ("u",)


@pytest.mark.parametrize("target", ["pylock", "requirements"])
def test_formats_of_wheels_refuse_what_has_none(target: ExportTarget) -> None:
    with pytest.raises(InvalidValue, match="holds wheels only, and `y` locks none"):
        export_plan.plan(with_packages(conda("a")), target)


@pytest.mark.parametrize("target", ["pylock", "requirements"])
def test_formats_of_wheels_name_the_conda_packages(target: ExportTarget) -> None:
    assert losses(target)["conda packages"] == (
        "helper",
        "numpy",
        "openssl",
        "python",
        "python_abi",
        "six",
    )


# --- mirror-list ----------------------------------------------------------------------------


def test_the_list_has_the_paths_that_a_mirror_is_read_by() -> None:
    text = texts("mirror-list")["mirror-list.txt"]
    found = {item.path: item for item in mirror_list.read(text, "x")}

    six = found["conda-forge/noarch/six-1.17.0-pyhd8ed1ab_0.tar.bz2"]
    assert six.url == f"{FORGE}/noarch/six-1.17.0-pyhd8ed1ab_0.tar.bz2"
    assert "conda.example.org/team/tools/linux-64/helper-0.2-0.conda" in found
    assert "wheels/torch-2.7.1+cu126-cp311-cp311-win_amd64.whl" in found
    model = found[f"models/models--Org--Bert-Base/{'a' * 40}/sub dir/model.safetensors"]
    assert (model.size, model.sha256) == (4096, digest("sub dir/model.safetensors"))
    assert len(found) == len({item.url for item in lock().packages}) + 3
    assert text.splitlines()[0] == (
        f"# x-torch27-cu126 for linux-64, win-64: {len(found)} files,"
        f" {sum(item.size or 0 for item in found.values())} bytes"
    )


def test_the_list_counts_what_it_does_not_know() -> None:
    given = with_packages(replace(conda("a"), size=None, sha256=""))

    assert (
        "1 files, 0 bytes, and 1 of unknown size" in texts("mirror-list", given)["mirror-list.txt"]
    )
    assert losses("mirror-list", given)["no sha256 is known, so they cannot be compared"] == ("a",)
