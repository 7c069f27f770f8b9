"""What is found under a folder, and what never is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.hub_caches import (
    COMMIT,
    contents,
    etag,
    flat,
    git_sha1,
    hub_repo,
    inode,
    local,
    put,
    sha256,
)

from envforge.adapters.store.dedupe.found import Found
from envforge.adapters.store.dedupe.tree import Tree
from envforge.cache.dedupe_plan import EDITED, NEVER
from envforge.errors import FileNotUsable

WEIGHTS = b"w" * 1000
LARGE = b"w" * EDITED
FILES = {"model.safetensors": WEIGHTS, "config.json": b"{}", "1_Pooling/config.json": b"{1}"}


def look(*roots: Path) -> Found:
    tree = Tree()
    for root in roots:
        tree.add(root)
    return tree.found


def claims(found: Found) -> dict[str, int]:
    """Names of each claim."""
    return {
        claim: sum(len(copy.names) for copy in copies) for claim, copies in found.claims.items()
    }


def test_blobs_are_found_by_their_names(tmp_path: Path) -> None:
    hub_repo(tmp_path / "hub", FILES)

    found = look(tmp_path)

    assert claims(found) == {sha256(WEIGHTS): 1, git_sha1(b"{}"): 1, git_sha1(b"{1}"): 1}
    assert found.names == 3
    assert found.unnamed == []
    assert found.problems == []


def test_nothing_but_payload_is_found(tmp_path: Path) -> None:
    """Refs, listings, locks and unfinished downloads are written in place, or may be."""
    repo = tmp_path / "hub" / "models--org--m"
    hub_repo(tmp_path / "hub", FILES)
    tag = sha256(WEIGHTS)
    put(repo / "blobs" / f"{tag}.1a2b3c4d.incomplete", WEIGHTS)
    put(repo / "blobs" / f"{tag}.lock", b"")
    put(tmp_path / "hub" / ".locks" / "models--org--m" / f"{tag}.lock", b"")
    put(tmp_path / "hub" / "CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55")
    put(tmp_path / "hub" / "blobs" / ".huggingface-shared-blobs", b"1\n")
    put(tmp_path / "hub" / "blobs" / "ab" / ("b" * 64), LARGE)

    paths = {copy.path for copy in look(tmp_path).copies}

    assert paths == {str(repo / "blobs" / etag(d, lfs=d is WEIGHTS)) for d in FILES.values()}


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    hub_repo(tmp_path, {"empty.bin": b""})

    assert claims(look(tmp_path)) == {}


def test_a_link_is_one_copy_with_two_names(tmp_path: Path) -> None:
    one = hub_repo(tmp_path / "a", FILES)["model.safetensors"]
    other = tmp_path / "b" / "models--org--m" / "blobs" / one.name
    other.parent.mkdir(parents=True)
    other.hardlink_to(one)

    [copy] = look(tmp_path).claims[sha256(WEIGHTS)]

    assert {f"{folder.path}/{name}" for folder, name in copy.names} == {str(one), str(other)}
    assert not copy.has_other_names


def test_a_link_is_known_though_listings_have_other_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FUSE without `use_ino`, overlays: what a listing says of inodes is of no use."""
    monkeypatch.setattr("envforge.adapters.store.dedupe.found._numbers_agree", lambda *_: False)
    one = hub_repo(tmp_path / "a", FILES)["model.safetensors"]
    other = tmp_path / "b" / "models--org--m" / "blobs" / one.name
    other.parent.mkdir(parents=True)
    other.hardlink_to(one)

    [copy] = look(tmp_path).claims[sha256(WEIGHTS)]

    assert len(copy.names) == 2


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    """Root looks into other people's folders: theirs must not lead it elsewhere."""
    outside = tmp_path / "outside"
    hub_repo(outside, FILES)
    inside = tmp_path / "inside"
    (inside / "models--a--b").mkdir(parents=True)
    (inside / "models--a--b" / "blobs").symlink_to(outside / "models--org--m" / "blobs")
    (inside / "models--c--d").symlink_to(outside / "models--org--m")
    (inside / "models--e--f" / "blobs").mkdir(parents=True)
    target = outside / "models--org--m" / "blobs" / sha256(WEIGHTS)
    (inside / "models--e--f" / "blobs" / sha256(WEIGHTS)).symlink_to(target)

    found = look(inside)

    assert found.copies == []
    assert [path for path, _ in found.problems] == [str(inside / "models--a--b" / "blobs")]


def test_a_folder_that_is_named_may_be_a_link(tmp_path: Path) -> None:
    hub_repo(tmp_path / "disk2", FILES)
    (tmp_path / "hub").symlink_to(tmp_path / "disk2")

    assert len(look(tmp_path / "hub").copies) == 3


def test_pipes_and_devices_are_nothing(tmp_path: Path) -> None:
    repo = tmp_path / "models--a--b" / "blobs"
    repo.mkdir(parents=True)
    os.mkfifo(repo / ("a" * 64))

    assert look(tmp_path).copies == []


@pytest.mark.parametrize("inner", ["", "models--org--m", "models--org--m/blobs"])
def test_any_folder_of_a_cache_can_be_named(tmp_path: Path, inner: str) -> None:
    hub_repo(tmp_path, FILES)

    assert len(look(tmp_path / inner).copies) == 3


def test_a_folder_named_twice_is_looked_at_once(tmp_path: Path) -> None:
    hub_repo(tmp_path / "hub", FILES)

    found = look(tmp_path, tmp_path / "hub", tmp_path / "hub" / "models--org--m" / "blobs")

    assert set(claims(found).values()) == {1}


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotUsable, match="no such file"):
        look(tmp_path / "none")


def test_files_instead_of_links_are_named_by_the_listing(tmp_path: Path) -> None:
    where = hub_repo(tmp_path, FILES, links=False)

    found = look(tmp_path)

    assert claims(found) == {sha256(WEIGHTS): 1, git_sha1(b"{}"): 1, git_sha1(b"{1}"): 1}
    assert found.claims[sha256(WEIGHTS)][0].path == str(where["model.safetensors"])


@pytest.mark.parametrize("listing", [None, b"{", b"[]", b'{"files": {"config.json": 7}}'])
def test_without_a_listing_only_their_bytes_tell(tmp_path: Path, listing: bytes | None) -> None:
    hub_repo(tmp_path, FILES, links=False, listing=False)
    if listing is not None:
        put(tmp_path / "models--org--m" / "trees" / f"{COMMIT}.json", listing)

    found = look(tmp_path)

    assert claims(found) == {}
    assert len(found.unnamed) == 3


def test_the_flat_cache_is_named_by_its_etags(tmp_path: Path) -> None:
    path = flat(tmp_path, "https://hub/org/m/model.bin", WEIGHTS)
    put(tmp_path / f"{path.name}.lock", b"")

    found = look(tmp_path)

    assert claims(found) == {sha256(WEIGHTS): 1}
    assert not found.copies[0].plain


@pytest.mark.parametrize("record", [b"", b"{}", b'{"etag": null}', b'{"etag": "\\"x-12\\""}'])
def test_a_flat_file_with_another_etag_is_told_by_its_bytes(tmp_path: Path, record: bytes) -> None:
    path = flat(tmp_path, "https://hub/org/m/model.bin", WEIGHTS)
    path.with_name(f"{path.name}.json").write_bytes(record)

    assert len(look(tmp_path).unnamed) == 1


def test_a_local_copy_is_named_by_its_record(tmp_path: Path) -> None:
    local(tmp_path / "m", "sub/model.safetensors", LARGE)

    [copy] = look(tmp_path).claims[sha256(LARGE)]

    assert copy.plain


def test_a_local_copy_that_was_edited_is_told_by_its_bytes(tmp_path: Path) -> None:
    path = local(tmp_path / "m", "model.safetensors", LARGE)
    os.utime(path, (2**31, 2**31))

    found = look(tmp_path)

    assert claims(found) == {}
    assert len(found.unnamed) == 1


def test_small_files_that_people_edit_are_left(tmp_path: Path) -> None:
    local(tmp_path / "m", "config.json", b"{}")
    put(tmp_path / "plain" / "notes.txt", b"x" * (EDITED - 1))

    assert look(tmp_path).copies == []


def test_a_plain_file_may_be_a_copy(tmp_path: Path) -> None:
    put(tmp_path / "plain" / "model.bin", LARGE)
    put(tmp_path / "plain" / "model.bin.part", LARGE + b"x")

    [copy] = look(tmp_path).unnamed

    assert copy.plain


def test_a_store_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path / "store" / ".envforge-store", b'{"version": 1}')
    put(tmp_path / "store" / "ab" / ("b" * 64), LARGE)

    found = look(tmp_path)

    assert found.copies == []
    assert found.stores == [str(tmp_path / "store")]


@pytest.mark.parametrize("name", sorted(NEVER))
def test_some_folders_are_never_entered(tmp_path: Path, name: str) -> None:
    put(tmp_path / name / "model.bin", LARGE)

    assert look(tmp_path).copies == []


def test_a_bottomless_folder_ends_somewhere(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 80)
    deep.mkdir(parents=True)

    [(path, reason)] = look(tmp_path).problems

    assert reason == "lies too deep"
    assert path.startswith(str(tmp_path / "d"))


def test_a_bottomless_snapshot_ends_somewhere(tmp_path: Path) -> None:
    hub_repo(tmp_path, FILES)
    tmp_path.joinpath("models--org--m", "snapshots", COMMIT, *["d"] * 80).mkdir(parents=True)

    assert [reason for _, reason in look(tmp_path).problems] == ["lies too deep"]


def test_names_in_other_encodings_are_files_like_others(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/model.bin"))
    put(path, LARGE)

    assert [copy.path for copy in look(tmp_path).unnamed] == [str(path)]


def test_what_a_killed_run_left_is_noted(tmp_path: Path) -> None:
    where = hub_repo(tmp_path, FILES)["model.safetensors"]
    left = where.with_name(".envforge-1f-0.incomplete")
    left.hardlink_to(where)

    found = look(tmp_path)

    assert [name for _, name in found.leftovers] == [left.name]
    assert claims(found)[sha256(WEIGHTS)] == 1


def test_looking_changes_nothing(tmp_path: Path) -> None:
    where = hub_repo(tmp_path, FILES)
    before = contents(tmp_path), inode(where["config.json"])

    look(tmp_path)

    assert (contents(tmp_path), inode(where["config.json"])) == before


def test_progress_is_told_now_and_then(tmp_path: Path) -> None:
    told: list[int] = []
    found = Found(told.append)

    for _ in range(5):
        found.count(400)

    assert told == [1200, 2000]
