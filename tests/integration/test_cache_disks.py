"""`cache doctor` on real filesystems: each mounted in a mount namespace that goes with the child.

Needs root, for unshare(1) and mount(8).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def _can_mount() -> bool:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, check=False
    )
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not _can_mount(), reason="only root can mount filesystems")


def doctor(root: Path, setup: str, **variables: str) -> dict[str, dict[str, Any]]:
    """Checks by id, after the shell commands of `setup` in the folder."""
    script = f'set -e; cd "{root}"\n{setup}\nexec "$@"'
    command = [sys.executable, "-m", "envforge", "cache", "doctor", "--no-speed", "--json"]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command],
        env={**os.environ, "ENVFORGE_STORE": str(root / "store"), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return {item["check"]: item for item in json.loads(done.stdout)["checks"]}


def messages(checks: dict[str, dict[str, Any]], check: str) -> str:
    return "; ".join(finding["message"] for finding in checks[check]["findings"])


INIT = f"'{sys.executable}' -m envforge cache init --store store >/dev/null 2>&1"


def test_memory_without_atime(tmp_path: Path) -> None:
    checks = doctor(
        tmp_path,
        f"mkdir store; mount -t tmpfs -o noatime,size=20m t store; chmod 755 store; {INIT}",
    )

    assert "in memory (tmpfs)" in messages(checks, "lasting-disk")
    assert "not noted" in messages(checks, "reads-noted")
    assert checks["hardlinks"]["verdict"] == "passed"
    assert checks["flock"]["verdict"] == "passed"


def test_a_bind_mount_of_the_same_disk_breaks_hardlinks(tmp_path: Path) -> None:
    checks = doctor(
        tmp_path,
        f"{INIT}; mkdir inner views; mount --bind inner views",
        ENVFORGE_VIEWS=str(tmp_path / "views"),
    )

    assert "is another mount of the same disk" in messages(checks, "one-mount")
    assert checks["hardlinks"]["verdict"] == "passed"


def test_views_on_another_disk(tmp_path: Path) -> None:
    checks = doctor(
        tmp_path,
        f"{INIT}; mkdir views; mount -t tmpfs t views",
        ENVFORGE_VIEWS=str(tmp_path / "views"),
    )

    assert "is on another disk" in messages(checks, "one-mount")


def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    checks = doctor(
        tmp_path, f"{INIT}; mount --bind store store; mount -o remount,bind,ro store store"
    )

    assert "mounted read-only" in messages(checks, "writable")
    assert checks["hardlinks"]["verdict"] == "unproven"


def test_a_containers_layer(tmp_path: Path) -> None:
    setup = (
        "mkdir layers; mount -t tmpfs t layers; mkdir layers/lower layers/upper layers/work store;"
        "mount -t overlay -o lowerdir=layers/lower,upperdir=layers/upper,workdir=layers/work"
        " o store || { mount -t tmpfs no-overlay store; }; chmod 755 store"
    )

    checks = doctor(tmp_path, f"{setup}; {INIT}")

    if "tmpfs" in messages(checks, "lasting-disk"):
        pytest.skip("this kernel has no overlayfs")
    assert "container's own layer" in messages(checks, "lasting-disk")


def test_a_full_disk(tmp_path: Path) -> None:
    checks = doctor(
        tmp_path,
        f"mkdir store; mount -t tmpfs -o size=20m,nr_inodes=400 t store; chmod 755 store; {INIT};"
        "head -c 19M /dev/zero > store/parts/x; for i in $(seq 370); do : > store/parts/$i; done",
    )

    found = messages(checks, "space")
    assert "GB are left" in found
    assert "inodes are left" in found


def test_a_default_acl_that_lets_others_write(tmp_path: Path) -> None:
    acl = (
        "import os, struct; e = [(1, 7, -1), (2, 7, 4001), (4, 5, -1), (16, 7, -1), (32, 5, -1)];"
        "b = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', t, p, i % 2**32)"
        " for t, p, i in e); os.setxattr('store/index', 'system.posix_acl_default', b)"
    )

    checks = doctor(tmp_path, f'{INIT}; "{sys.executable}" -c "{acl}"')

    assert "lets user 4001 write" in messages(checks, "default-acl")
