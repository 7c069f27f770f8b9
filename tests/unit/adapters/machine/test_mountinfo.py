"""Lines of mountinfo."""

from __future__ import annotations

from envforge.adapters.machine.mountinfo import mount_of, read_mounts

TEXT = r"""22 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
23 22 0:5 / /run/big rw,nosuid - tmpfs shm rw,size=65536k
24 22 8:2 /with\040blank /mnt/a\040b ro - ext4 /dev/sdb1 ro
25 23 0:6 / /run/big rw - tmpfs shm rw,size=1g
26 22 0:7 / /x rw - proc
not a line
27 22 0:8 / /y rw tmpfs none rw
28 22 0:9 / /z rw - tmpfs none
"""


def test_lines() -> None:
    mounts = read_mounts(TEXT)

    assert [item.point for item in mounts] == ["/", "/run/big", "/mnt/a b", "/run/big", "/z"]
    assert mounts[2].root == "/with blank"
    assert mounts[2].kind == "ext4"
    assert {"ro"} == mounts[2].options
    assert mounts[1].option("size") == "65536k"
    assert mounts[0].option("size") is None


def test_the_mount_of_a_path() -> None:
    """The longest; of two on one place, the last."""
    mounts = read_mounts(TEXT)

    def options(path: str) -> str | None:
        mount = mount_of(path, mounts)
        return mount.option("size") if mount else "none"

    assert options("/run/big/x") == "1g"
    assert options("/run/big") == "1g"
    assert options("/run/bigother") is None
    assert mount_of("/mnt/a b/c", mounts) == mounts[2]
    assert mount_of("/anything", ()) is None
