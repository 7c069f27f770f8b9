"""Direct dependencies in one version on every platform."""

from __future__ import annotations

from fakes.conda_solver import package

from envforge.model.lock import LockedPackage
from envforge.solve.agree import agreed, differing

BOTH = ("linux-64", "win-64")


def wheel(version: str, platform: str) -> LockedPackage:
    return LockedPackage(
        platform=platform,
        name="torch",
        manager="pip",
        version=version,
        url="https://host/x.whl",
        sha256="0",
    )


def test_versions_that_differ_come_oldest_first() -> None:
    """Also those that are not of PEP 440."""
    packages = [
        package("numpy", "1.26.4"),
        package("numpy", "1.9.0", platform="win-64"),
        package("tzdata", "2024b"),
        package("tzdata", "2024a", platform="win-64"),
        package("jpeg", "9e"),
        package("jpeg", "9e", platform="win-64"),
        package("openssl", "1.1.1w"),
        package("openssl", "1.1.1q", platform="win-64"),
    ]
    assert differing(["numpy", "tzdata", "jpeg", "openssl", "other"], packages, "conda") == {
        "numpy": ("1.9.0", "1.26.4"),
        "tzdata": ("2024a", "2024b"),
        "openssl": ("1.1.1q", "1.1.1w"),
    }
    assert agreed(["numpy", "jpeg"], packages, "conda", BOTH) == {"jpeg": "9e"}


def test_a_package_of_one_platform_is_not_agreed_on() -> None:
    assert agreed(["numpy"], [package("numpy", "1.26.4")], "conda", BOTH) == {}


def test_the_index_of_a_wheel_is_no_difference() -> None:
    packages = [wheel("2.7.1+cu126", "linux-64"), wheel("2.7.1", "win-64")]
    assert differing(["torch"], packages, "pip") == {}
    assert agreed(["torch"], packages, "pip", BOTH) == {"torch": "2.7.1"}
    assert differing(["torch"], packages, "conda") == {}
