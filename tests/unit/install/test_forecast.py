from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.installing import as_installed, conda_package, wheel

from envforge.errors import NotEnoughSpace
from envforge.install.forecast import check_space, forecast
from envforge.model.prefix import ArchiveFacts, Disk, InstallPlan, SpaceForecast

BOTH = ("conda", "pip")
PACKAGE = conda_package("torch", size=100_000_000)
WHEEL = wheel("torch", size=100_000_000)


def plan(*packages: object) -> InstallPlan:
    return InstallPlan(prefix=Path("/p"), add=packages)  # type: ignore[arg-type]


def test_a_package_that_is_not_cached_is_fetched_and_unpacked() -> None:
    needed = forecast(plan(PACKAGE), {}, hardlinked=BOTH)

    assert needed.download_bytes == 100_000_000
    assert needed.cache_bytes == 530_000_000
    assert needed.prefix_bytes < needed.cache_bytes / 50
    assert needed.inodes > needed.prefix_inodes > 0
    assert needed.estimated == 0


def test_a_cached_package_costs_its_links_only() -> None:
    facts = {PACKAGE.url: ArchiveFacts(cached=True, unpacked_bytes=3 * 10**9, files=20_000)}
    needed = forecast(plan(PACKAGE), facts, hardlinked=BOTH)

    assert (needed.download_bytes, needed.cache_bytes) == (0, 0)
    assert needed.prefix_bytes == 20_000 * 550
    assert needed.inodes == needed.prefix_inodes == 2_000


def test_on_another_filesystem_everything_is_copied() -> None:
    facts = {PACKAGE.url: ArchiveFacts(cached=True, unpacked_bytes=3 * 10**9, files=20_000)}
    needed = forecast(plan(PACKAGE), facts, hardlinked=())

    assert needed.prefix_bytes > 3 * 10**9
    assert needed.prefix_inodes == 22_000


def test_wheels_go_into_their_own_cache() -> None:
    needed = forecast(plan(WHEEL), {}, hardlinked=BOTH)
    assert needed.cache_bytes == 0
    assert needed.wheel_cache_bytes == 370_000_000


def test_unknown_sizes_are_estimated_and_counted() -> None:
    unknown = conda_package("odd")
    needed = forecast(plan(unknown, PACKAGE), {}, hardlinked=BOTH)

    assert needed.estimated == 1
    assert needed.download_bytes > PACKAGE.size  # type: ignore[operator]
    told = forecast(plan(unknown), {unknown.url: ArchiveFacts(size=7)}, hardlinked=BOTH)
    assert (told.download_bytes, told.estimated) == (7, 0)


def test_changes_count_like_additions() -> None:
    changed = InstallPlan(prefix=Path("/p"), change=((as_installed(PACKAGE), PACKAGE),))
    assert forecast(changed, {}, hardlinked=BOTH) == forecast(plan(PACKAGE), {}, hardlinked=BOTH)


NEEDED = SpaceForecast(
    download_bytes=1,
    cache_bytes=600,
    wheel_cache_bytes=300,
    prefix_bytes=100,
    inodes=110,
    prefix_inodes=20,
    estimated=0,
)


def disk(device: int, **facts: int) -> Disk:
    return Disk(path=f"/disk{device}", device=device, **{"free_bytes": 10**6, **facts})


def test_enough_is_enough() -> None:
    exact = disk(1, free_bytes=1000, free_inodes=110, quota_bytes=1000, quota_files=110)
    check_space(NEEDED, exact, exact, exact)


@pytest.mark.parametrize(
    ("resource", "facts", "needed"),
    [
        ("bytes", {"free_bytes": 999}, 1000),
        ("quota bytes", {"quota_bytes": 999}, 1000),
        ("inodes", {"free_inodes": 109}, 110),
        ("quota files", {"quota_files": 109}, 110),
    ],
)
def test_places_on_one_disk_share_it(resource: str, facts: dict[str, int], needed: int) -> None:
    one = disk(1, **facts)

    with pytest.raises(NotEnoughSpace) as caught:
        check_space(NEEDED, one, one, one)

    assert caught.value.resource == resource
    assert caught.value.needed == needed
    assert caught.value.available == next(iter(facts.values()))


def test_each_disk_needs_its_own_share_only() -> None:
    prefix, cache, wheels = (
        disk(1, free_bytes=100),
        disk(2, free_bytes=600),
        disk(3, free_bytes=300),
    )
    check_space(NEEDED, prefix, cache, wheels)

    for small in range(3):
        disks = [prefix, cache, wheels]
        disks[small] = replace(disks[small], free_bytes=disks[small].free_bytes - 1)
        with pytest.raises(NotEnoughSpace) as caught:
            check_space(NEEDED, *disks)
        assert caught.value.path == disks[small].path


def test_inodes_of_the_caches_are_shared_out_by_bytes() -> None:
    roomy = disk(1, free_inodes=20)
    check_space(NEEDED, roomy, disk(2, free_inodes=60), disk(3, free_inodes=30))
    with pytest.raises(NotEnoughSpace):
        check_space(NEEDED, roomy, disk(2, free_inodes=59), disk(3, free_inodes=30))


def test_nothing_needed_fits_everywhere() -> None:
    nothing = SpaceForecast(download_bytes=0, cache_bytes=0, prefix_bytes=0, inodes=0, estimated=0)
    full = disk(1, free_bytes=0, free_inodes=0)
    check_space(nothing, full, full, full)
