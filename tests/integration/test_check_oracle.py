"""`check` against conda-lock's own code: a lock is current when conda-lock says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fakes.conda_solver import package
from fakes.locks import lock
from fakes.workplace import fake_forge

from envforge.formats.conda_lock import conda_lock_yml
from envforge.formats.conda_lock.conda_lock_defaults import DEFAULTS

_ASK = """
import json, pathlib, sys
from conda_lock.content_hash import compute_content_hashes
from conda_lock.src_parser import make_lock_spec
from conda_lock.virtual_package import default_virtual_package_repodata
path, platforms = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
spec = make_lock_spec(src_files=[path], platform_overrides=platforms, mapping_url="")
repodata = default_virtual_package_repodata()
with repodata:
    print("HASHES", json.dumps(compute_content_hashes(spec, repodata)))
"""
ENVIRONMENT = """\
name: theirs
channels: [conda-forge]
dependencies:
  - python=3.11
  - numpy >=1.26
"""


def content_hashes(path: Path, platforms: list[str]) -> dict[str, str]:
    """What conda-lock computes with the virtual packages that it assumes."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ASK, path, json.dumps(platforms)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("HASHES "))
    found: dict[str, str] = json.loads(line.removeprefix("HASHES "))
    return found


def test_a_lock_made_with_the_virtual_packages_that_conda_lock_assumes(tmp_path: Path) -> None:
    pytest.importorskip("conda_lock")
    platforms = ["linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64"]
    (tmp_path / "environment.yml").write_text(ENVIRONMENT)
    packages = [
        package(name, version, platform=platform)  # type: ignore[arg-type]
        for platform in platforms
        for name, version in (("numpy", "1.26.4"), ("python", "3.11.9"))
    ]
    hashes = content_hashes(tmp_path / "environment.yml", platforms)
    text = conda_lock_yml.write(lock(*packages, content_hash=hashes))
    path = tmp_path / "conda-lock.yml"
    path.write_text(text.removeprefix(conda_lock_yml.HEADER))
    forge = fake_forge(tmp_path)

    [current] = forge.check([str(tmp_path)])
    assert (current.findings, current.unproven) == ((), ())

    (tmp_path / "environment.yml").write_text(f"{ENVIRONMENT}  - scipy\n")
    [stale] = forge.check([str(tmp_path)])
    assert stale.is_stale


def test_the_virtual_packages_are_those_of_the_conda_lock_that_is_installed() -> None:
    conda_lock = pytest.importorskip("conda_lock")
    path = Path(conda_lock.__file__).with_name("default-virtual-packages.yaml")
    theirs = yaml.safe_load(path.read_text(encoding="utf-8"))["subdirs"]
    ours = {
        platform: {
            item.name: item.version if item.build == "0" else f"{item.version} {item.build}"
            for item in packages
        }
        for platform, packages in DEFAULTS.items()
    }
    assert ours == {
        platform: found["packages"] for platform, found in theirs.items() if platform in ours
    }
