"""`@EXPLICIT` files."""

from __future__ import annotations

from dataclasses import replace

from fakes.exported import conda, wheel

from envforge.formats.conda import explicit, explicit_writer

PACKAGES = (
    conda("zlib", "1.3"),
    conda("six", "1.17.0", "pyhd_0", subdir="noarch", ending=".tar.bz2"),
    wheel("torch", "2.7.1+cu126", "https://h/torch-2.7.1%2Bcu126-cp311-cp311-linux_x86_64.whl"),
)


def test_the_lines() -> None:
    lines = explicit_writer.write(PACKAGES, name="x", platform="linux-64").splitlines()

    assert "# platform: linux-64" in lines
    assert lines[lines.index("@EXPLICIT") + 1 :] == [
        f"{PACKAGES[0].url}#{PACKAGES[0].md5}",
        f"{PACKAGES[1].url}#{PACKAGES[1].md5}",
        f"# pip torch @ {PACKAGES[2].url}#sha256={PACKAGES[2].sha256}",
    ]


def test_the_hash_that_is_asked_for_else_the_one_that_is_known() -> None:
    one, other = PACKAGES[0], replace(PACKAGES[1], sha256="")
    bare = replace(conda("bare"), md5="", sha256="")
    unsigned = replace(wheel("w", "1", "https://h/w-1-py3-none-any.whl"), sha256="")
    text = explicit_writer.write((one, other, bare, unsigned), name="x", platform="p", sha256=True)

    assert text.splitlines()[-4:] == [
        f"{one.url}#sha256:{one.sha256}",
        f"{other.url}#{other.md5}",
        bare.url,
        f"# pip w @ {unsigned.url}",
    ]
    only_sha256 = explicit_writer.write((replace(one, md5=""),), name="x", platform="p")
    assert only_sha256.splitlines()[-1] == f"{one.url}#sha256:{one.sha256}"


def test_our_reader_reads_it_again() -> None:
    for sha256 in (False, True):
        text = explicit_writer.write(PACKAGES, name="x", platform="linux-64", sha256=sha256)
        [found] = explicit.read_source(text, "x.lock")

        assert found.lock is not None
        assert {(p.name, p.manager, p.version, p.build, p.url) for p in found.lock.packages} == {
            (p.name, p.manager, p.version, p.build, p.url) for p in PACKAGES
        }
        hashes = {p.name: p.sha256 if sha256 else p.md5 for p in found.lock.packages}
        assert hashes["zlib"] == (PACKAGES[0].sha256 if sha256 else PACKAGES[0].md5)
        assert {p.platform for p in found.lock.packages} == {"linux-64"}
