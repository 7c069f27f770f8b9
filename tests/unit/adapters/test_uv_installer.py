"""What uv's failures mean for the wheels that were to be installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envforge.adapters.pip_settings import PipSettings
from envforge.adapters.uv import Uv
from envforge.adapters.uv_installer import UvInstaller
from envforge.errors import CorruptArchive, EnvforgeError, ToolFailed
from envforge.model.lock import LockedPackage
from envforge.ports import Completed

WHEEL = LockedPackage(
    platform="linux-64",
    name="torch",
    manager="pip",
    version="2.1",
    url="https://pypi.example/torch-2.1-py3-none-any.whl",
    sha256="f" * 64,
)
SITE = "lib/python3.11/site-packages"


@dataclass
class Processes:
    """Answers every call alike."""

    stderr: str = ""
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        timeout: float | None,
        cwd: Path | None = None,
        stdin: str | None = None,
        check: bool = True,
    ) -> Completed:
        self.calls.append(tuple(command))
        return Completed(status=2 if self.stderr else 0, stdout="", stderr=self.stderr)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    return tmp_path


def installer(processes: Processes) -> UvInstaller:
    return UvInstaller(
        Uv(processes=processes, environment={}, settings=PipSettings(), program="uv")
    )


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Failed to download `torch==2.1`\n  cause: Failed to extract archive", CorruptArchive),
        (
            f"Failed to read metadata from `{WHEEL.url}`\n  cause: invalid zip",
            CorruptArchive,
        ),
        ("Failed to download `another==1.0`\n  cause: Failed to extract archive", ToolFailed),
        (
            "Hash mismatch for `another==1.0`\n\nExpected:\n  sha256:aa\n\nComputed:\n  sha256:bb",
            ToolFailed,
        ),
        ("Wheel filename `other-1.whl` does not match package name `x`", ToolFailed),
    ],
)
def test_a_failure_is_about_one_of_the_wheels_or_uv_s_own(
    prefix: Path, said: str, meant: type[EnvforgeError]
) -> None:
    with pytest.raises(meant):
        installer(Processes(stderr=said)).install([WHEEL], prefix)


def test_a_wheel_of_which_a_conda_package_carries_a_copy_is_replaced(prefix: Path) -> None:
    """setuptools brings such copies below `_vendor`; they are no packages of conda's."""
    (prefix / SITE / "torch-2.1.dist-info").mkdir(parents=True)
    (prefix / "conda-meta").mkdir()
    copy = f"{SITE}/setuptools/_vendor/torch-2.1.dist-info/METADATA"
    (prefix / "conda-meta" / "setuptools-75-0.json").write_text(f'{{"files": ["{copy}"]}}')
    processes = Processes()

    installer(processes).install([WHEEL], prefix)

    assert [call[1:3] for call in processes.calls] == [("pip", "uninstall"), ("pip", "install")]
