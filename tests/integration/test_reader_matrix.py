"""Who reads what we write: every format, in the hands of the tools it is for.

| written | read here by |
|---|---|
| conda-lock.yml | conda-lock, rattler, conda-lockfiles (conda packages) |
| explicit | rattler; the same lines as conda-lock renders |
| environment.yml | conda-lock |
| pixi.lock | rattler, conda-lockfiles |
| pixi.toml | its specs, by rattler, against the records of pixi.lock |
| pylock.toml | uv, which installs from it |
| requirements.txt | pip and uv, which install from it |
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.exported import PLATFORMS, digest, lock, spec, subject, wheel, with_packages
from fakes.wheels import build_wheel

from envforge.formats.conda import environment_yml, virtual_packages_yml
from envforge.formats.conda_lock import conda_lock_yml, content_hash
from envforge.model.export import ExportSubject, ExportTarget
from envforge.model.lock import Lock, LockedPackage
from envforge.team import export_plan

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENVS = Path(__file__).parents[2] / "envs"
SHARED_LOCKS = Path(
    os.environ.get("ENVFORGE_TEST_LOCKS", Path(__file__).parents[3] / "shared" / "locks")
)
"""Locks of other tools, where a checkout of them lies beside the project."""
pytestmark = [
    # What conda-lock's own code says while it is asked.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

REFERENCE = sorted(path.parent.name for path in ENVS.glob("*/conda-lock.yml"))


def reference(name: str) -> ExportSubject:
    """One of the reference environments of the repository."""
    folder = ENVS / name
    text = (folder / "conda-lock.yml").read_text(encoding="utf-8")
    virtual = virtual_packages_yml.read((folder / "virtual-packages.yml").read_text(), "v")
    return ExportSubject(
        name=name,
        lock=conda_lock_yml.read(text, name),
        spec=environment_yml.read((folder / "environment.yml").read_text(), "e").spec,
        virtual={str(key): value for key, value in virtual.items()},
    )


def given(name: str) -> ExportSubject:
    return subject() if name == "made-up" else reference(name)


EVERY = ["made-up", *REFERENCE]


def export(target: ExportTarget, which: ExportSubject, folder: Path) -> Path:
    """Write an export; the folder it lies in."""
    for item in export_plan.plan(which, target).files:
        (folder / item.name).write_text(item.text, encoding="utf-8")
    return folder


def conda_packages(which: ExportSubject, platform: str) -> list[LockedPackage]:
    return [item for item in which.lock.for_platform(platform) if item.manager == "conda"]


def child(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **env},
        capture_output=True,
        text=True,
        check=False,
    )


# --- rattler --------------------------------------------------------------------------------


def read_by_rattler(path: Path) -> dict[tuple[str, str], Any]:
    """Platform and address to what rattler reads."""
    import rattler

    found = {}
    for _, environment in rattler.LockFile.from_path(path).environments():
        for platform in environment.platforms():
            for item in environment.packages(platform) or ():
                found[str(platform), str(item.location)] = item
    return found


@pytest.mark.parametrize("name", EVERY)
def test_rattler_reads_pixi_lock(name: str, tmp_path: Path) -> None:
    """Every package, with its hash, version, dependencies and size."""
    import rattler

    which = given(name)
    found = read_by_rattler(export("pixi", which, tmp_path) / "pixi.lock")

    assert found.keys() == {(item.platform, item.url) for item in which.lock.packages}
    for item in which.lock.packages:
        read = found[item.platform, item.url]
        assert read.name == item.name
        assert read.hashes.sha256.hex() == item.sha256
        if item.manager == "conda":
            record = read.package_record
            assert record.version == rattler.Version(item.version)
            assert (str(record.build), record.subdir) == (item.build, item.subdir)
            assert record.md5.hex() == item.md5
            assert tuple(record.depends) == item.depends
            assert record.size == item.size
        else:
            assert read.version == item.version
            assert len(read.requires_dist) == len(item.depends)


@pytest.mark.parametrize("name", EVERY)
def test_rattler_finds_that_pixi_toml_and_pixi_lock_belong_together(
    name: str, tmp_path: Path
) -> None:
    """Each direct dependency, as a spec, takes the record that is locked."""
    import rattler

    which = given(name)
    folder = export("pixi", which, tmp_path)
    found = read_by_rattler(folder / "pixi.lock")
    manifest = tomllib.loads((folder / "pixi.toml").read_text())
    wanted = manifest.get("dependencies", {})
    assert wanted
    for platform in manifest["workspace"]["platforms"]:
        records = {
            item.name: item.package_record
            for (where, _), item in found.items()
            if where == platform and hasattr(item, "package_record")
        }
        for package, value in wanted.items():
            fields = {"version": value} if isinstance(value, str) else dict(value)
            fields.pop("channel", None)
            written = ",".join(f'{key}="{text}"' for key, text in fields.items())
            assert rattler.MatchSpec(f"{package}[{written}]").matches(records[package]), package


@pytest.mark.parametrize("name", EVERY)
def test_rattler_reads_explicit_files(name: str, tmp_path: Path) -> None:
    from rattler.explicit_environment.environment import ExplicitEnvironmentSpec

    which = given(name)
    export("explicit", which, tmp_path)
    for platform in which.lock.platforms:
        read = ExplicitEnvironmentSpec.from_path(tmp_path / f"conda-{platform}.lock")
        assert str(read.platform) == platform
        assert sorted(item.url for item in read.packages) == sorted(
            f"{item.url}#{item.md5}" for item in conda_packages(which, platform)
        )


@pytest.mark.parametrize("name", REFERENCE)
def test_rattler_reads_conda_lock_yml(name: str) -> None:
    which = reference(name)

    found = read_by_rattler(ENVS / name / "conda-lock.yml")

    assert {key: read.hashes.sha256.hex() for key, read in found.items()} == {
        (item.platform, item.url): item.sha256 for item in which.lock.packages
    }


# --- conda-lock -----------------------------------------------------------------------------


def locked_folder(which: ExportSubject, folder: Path) -> Path:
    """A folder as `lock` writes it."""
    assert which.spec is not None
    text = environment_yml.write(which.spec)
    (folder / "environment.yml").write_text(text)
    hashes = content_hash.content_hashes(which.spec, {})
    (folder / "conda-lock.yml").write_text(
        conda_lock_yml.write(replace(which.lock, content_hash=hashes))
    )
    return folder


@pytest.mark.parametrize("name", ["made-up", "nlp-bert-torch20-cu118"])
def test_conda_lock_reads_conda_lock_yml(name: str, tmp_path: Path) -> None:
    from conda_lock.lockfile import parse_conda_lock_file

    which = given(name)
    parsed = parse_conda_lock_file(locked_folder(which, tmp_path) / "conda-lock.yml")

    assert {
        (p.platform, p.name, p.manager, p.version, p.url, p.hash.sha256) for p in parsed.package
    } == {(p.platform, p.name, p.manager, p.version, p.url, p.sha256) for p in which.lock.packages}


def test_explicit_files_have_the_lines_that_conda_lock_renders(tmp_path: Path) -> None:
    """Wheels included, which both write as comments."""
    which = subject()
    locked_folder(which, tmp_path)
    done = child(
        *(sys.executable, "-m", "conda_lock", "render", "--kind", "explicit"),
        *(word for name in PLATFORMS for word in ("--platform", name)),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr

    def lines(folder: Path, platform: str) -> list[str]:
        text = (folder / f"conda-{platform}.lock").read_text()
        head, _, body = text.partition("@EXPLICIT\n")
        assert f"# platform: {platform}\n" in head
        return sorted(line for line in body.splitlines() if line)

    (tmp_path / "ours").mkdir()
    ours = export("explicit", which, tmp_path / "ours")
    for platform in PLATFORMS:
        assert lines(ours, platform) == lines(tmp_path, platform)


@pytest.mark.parametrize("name", ["made-up", "nlp-bert-torch20-cu118"])
def test_conda_lock_reads_environment_yml(name: str, tmp_path: Path) -> None:
    """As the source of another lock: the same version and build of everything."""
    from conda_lock.src_parser.environment_yaml import parse_environment_file

    which = given(name)
    export("environment.yml", which, tmp_path)
    for platform in which.lock.platforms:
        read = parse_environment_file(
            tmp_path / f"environment-{platform}.yml", [platform], mapping_url=_no_names(tmp_path)
        )
        found = {(item.name, item.manager): item for item in read.dependencies[platform]}
        for item in conda_packages(which, platform):
            asked: Any = found[item.name, "conda"]
            assert (asked.version, asked.build) == (item.version, item.build)
        for item in which.lock.for_platform(platform):
            if item.manager == "pip":
                asked = found[item.name, "pip"]
                assert (asked.url, asked.hashes) == (item.url, [f"sha256:{item.sha256}"])


def _no_names(folder: Path) -> str:
    names = folder / "names.json"
    names.write_text("{}")
    return str(names)


# --- conda-lockfiles ------------------------------------------------------------------------


def read_by_conda_lockfiles(kind: str, path: Path) -> Mapping[str, Any]:
    if importlib.util.find_spec("conda_lockfiles") is None:
        pytest.skip("conda-lockfiles is not installed")
    script = Path(__file__).parents[1] / "fakes" / "conda_lockfiles_reader.py"
    done = child(sys.executable, str(script), kind, str(path), cwd=path.parent)
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["made-up", "nlp-bert-torch20-cu118"])
def test_conda_lockfiles_reads_pixi_lock(name: str, tmp_path: Path) -> None:
    which = given(name)
    found = read_by_conda_lockfiles("pixi", export("pixi", which, tmp_path) / "pixi.lock")

    assert found.keys() == set(which.lock.platforms)
    for platform in which.lock.platforms:
        assert {url: item["sha256"] for url, item in found[platform]["conda"].items()} == {
            item.url: item.sha256 for item in conda_packages(which, platform)
        }
        wheels = [item.url for item in which.lock.for_platform(platform) if item.manager == "pip"]
        assert sorted(found[platform]["others"].get("pypi", [])) == sorted(wheels)


@pytest.mark.parametrize("name", ["llm-serve-torch212-cu130", "nlp-bert-torch20-cu118"])
def test_conda_lockfiles_reads_conda_lock_yml(name: str) -> None:
    """Without wheels: it knows no `manager: pip`, and conda-lock no other word (facts of 0.2.2)."""
    which = reference(name)
    found = read_by_conda_lockfiles("conda-lock", ENVS / name / "conda-lock.yml")

    for platform in which.lock.platforms:
        told = found[platform]["conda"]
        assert {url: (item["md5"], item["sha256"]) for url, item in told.items()} == {
            item.url: (item.md5, item.sha256) for item in conda_packages(which, platform)
        }


# --- pip and uv -----------------------------------------------------------------------------


@pytest.fixture
def wheels(tmp_path: Path) -> Lock:
    """Two wheels in a folder, one with a local version, as a lock."""
    folder = tmp_path / "shelf"
    packages = []
    for name, version in (("alpha", "1.0+cu126"), ("beta-two", "2.0")):
        path = build_wheel(folder, name, version)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        packages.append(wheel(name, version, path.as_uri(), sha256=found))
    return with_packages(*packages).lock


def install(tool: str, folder: Path, file: str) -> subprocess.CompletedProcess[str]:
    """Into `folder/site`, from the file alone."""
    from uv import find_uv_bin

    if tool == "uv":
        command = [find_uv_bin(), "pip", "install", "--python", sys.executable, "--offline"]
    else:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-index",
            "--disable-pip-version-check",
        ]
    strict = ["--require-hashes"] if file.endswith(".txt") else []
    return child(
        *(*command, "--no-deps", *strict, "--target", "site", "-r", file),
        cwd=folder,
        UV_CACHE_DIR=str(folder / "uv-cache"),
        PIP_CONFIG_FILE=os.devnull,
    )


CASES: list[tuple[str, ExportTarget, str]] = [
    ("uv", "pylock", "pylock.toml"),
    ("uv", "requirements", "requirements.txt"),
    ("pip", "requirements", "requirements.txt"),
]


@pytest.mark.parametrize(("tool", "target", "file"), CASES)
def test_wheels_are_installed_from_what_we_write(
    tool: str, target: ExportTarget, file: str, wheels: Lock, tmp_path: Path
) -> None:
    if tool == "pip" and importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    export(target, ExportSubject(name="y", lock=wheels), tmp_path)

    done = install(tool, tmp_path, file)

    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "site").glob("*.dist-info")} == {
        "alpha-1.0+cu126.dist-info",
        "beta_two-2.0.dist-info",
    }


@pytest.mark.parametrize(("tool", "target", "file"), CASES)
def test_other_bytes_are_refused(
    tool: str, target: ExportTarget, file: str, wheels: Lock, tmp_path: Path
) -> None:
    """The counterpart: the hashes that we write are looked at."""
    if tool == "pip" and importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed")
    changed = tuple(replace(item, sha256=digest(item.name)) for item in wheels.packages)
    export(target, ExportSubject(name="y", lock=replace(wheels, packages=changed)), tmp_path)

    done = install(tool, tmp_path, file)

    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
    assert not list((tmp_path / "site").glob("*.dist-info"))


# --- round trips ----------------------------------------------------------------------------


def read_again(target: ExportTarget, which: ExportSubject, folder: Path) -> Lock:
    """What our own reader finds in an export of one platform."""
    from envforge.forge.locks.importing import read_text

    written = export_plan.plan(which, target, platforms=["linux-64"]).files[-1]
    found = read_text(written.text, written.name).choose().lock
    assert found is not None
    return found


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("target", ["explicit", "pixi"])
def test_a_conversion_and_back(name: str, target: ExportTarget, tmp_path: Path) -> None:
    """All that the format holds is the same, and exporting it again gives the same bytes."""
    which = given(name)
    back = read_again(target, which, tmp_path)

    def held(lock_: Lock) -> set[tuple[str, ...]]:
        return {
            (item.platform, item.name, item.manager, item.version, item.build, item.url)
            + ((item.md5,) if target == "explicit" else (item.md5, item.sha256, *item.depends))
            for item in lock_.for_platform("linux-64")
        }

    assert held(back) == held(which.lock)
    if target == "pixi":
        again = replace(which, lock=replace(back, channels=which.lock.channels))
        texts = [
            export_plan.plan(item, target, platforms=["linux-64"]).files for item in (which, again)
        ]
        assert texts[0] == texts[1]


@pytest.mark.parametrize("target", ["pylock", "requirements"])
def test_a_conversion_of_wheels_and_back(target: ExportTarget, tmp_path: Path) -> None:
    which = subject()
    back = read_again(target, which, tmp_path)
    expected = [item for item in which.lock.for_platform("linux-64") if item.manager == "pip"]

    assert {(item.name, item.version, item.sha256) for item in back.packages} == {
        (item.name, item.version, item.sha256) for item in expected
    }


# --- locks of other tools -------------------------------------------------------------------


@pytest.fixture
def shared_locks() -> Path:
    """Locks that other tools wrote; skips, visibly, where they are absent."""
    if not SHARED_LOCKS.is_dir():
        pytest.skip(f"no locks at {SHARED_LOCKS}")
    return SHARED_LOCKS


@pytest.mark.parametrize("version", ["v4", "v5", "v6", "v7"])
def test_every_environment_of_a_pixi_lock_becomes_a_pixi_lock_that_rattler_reads(
    version: str, shared_locks: Path, tmp_path: Path
) -> None:
    from envforge.forge.locks.importing import read_text

    [path] = shared_locks.glob(f"*.{version}.pixi.lock")
    environments = read_text(path.read_text(encoding="utf-8"), path.name).environments
    for number, environment in enumerate(environments):
        assert environment.lock is not None
        which, _ = export_plan.prepared(
            ExportSubject(name=environment.name or "default", lock=environment.lock)
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        found = read_by_rattler(export("pixi", which, folder) / "pixi.lock")
        assert found.keys() == {(item.platform, item.url) for item in which.lock.packages}
        assert {
            key: read.hashes.sha256.hex() for key, read in found.items() if read.hashes.sha256
        } == {(item.platform, item.url): item.sha256 for item in which.lock.packages if item.sha256}


def test_the_made_up_environment_is_one_that_can_be_locked() -> None:
    """Or the tests above would be about something that never is."""
    text = conda_lock_yml.write(lock())

    assert conda_lock_yml.read(text, "x").packages == conda_lock_yml.normalised(lock()).packages
    assert environment_yml.read(environment_yml.write(spec()), "x").spec == spec()
