from __future__ import annotations

import hashlib
import json

import pytest
from fakes.viewing import BERT, C1, C2, CONFIG, WEIGHTS, blob_name, git_sha1, model, sha256
from hypothesis import given
from hypothesis import strategies as st

from envforge.cache import layout
from envforge.cache.view_plan import plan_flat, plan_view
from envforge.errors import HostileRepo
from envforge.model.models import LockedModel, ModelFile, Repo


def test_a_repository_is_laid_out_as_the_hub_does() -> None:
    [tree] = plan_view([model()]).repos

    [snapshot] = tree.snapshots
    assert tree.repo.folder == "models--org--bert"
    assert snapshot.commit == C1
    assert dict(snapshot.files) == {path: blob_name(path, data) for path, data in BERT.items()}
    assert tree.refs == (("main", C1),)
    assert {blob.sha256 for blob in tree.blobs} == {sha256(data) for data in BERT.values()}


def test_equal_files_are_one_blob_under_several_names() -> None:
    plan = plan_view([model()])

    assert plan.names == 4
    assert plan.sizes == {sha256(data): len(data) for data in BERT.values()}
    assert len(plan.repos[0].blobs) == 3


def test_the_listing_is_what_the_hub_would_tell() -> None:
    """The pointer's name is git's: hub tells it as `oid`, and no lock holds it."""
    [tree] = plan_view([model()]).repos
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(WEIGHTS)}\n"
    pointer = git_sha1(f"{text}size {len(WEIGHTS)}\n".encode())

    listing = json.loads(tree.snapshots[0].listing or "")

    assert listing["format_version"] == 1
    assert list(listing["files"]) == sorted(BERT)
    assert listing["files"]["config.json"] == {"size": len(CONFIG), "blob_id": git_sha1(CONFIG)}
    assert listing["files"]["model.safetensors"] == {
        "size": len(WEIGHTS),
        "blob_id": pointer,
        "lfs_sha256": sha256(WEIGHTS),
        "lfs_size": len(WEIGHTS),
    }


def test_the_hash_in_xet_storage_is_told_where_it_is_one() -> None:
    def listed(xet: str) -> object:
        files = (ModelFile(path="w", size=1, sha256="a" * 64, blob="a" * 64, xet=xet),)
        locked = LockedModel(request=model().request, commit=C1, files=files)
        text = plan_view([locked]).repos[0].snapshots[0].listing
        return json.loads(text or "")["files"]["w"].get("xet_hash")

    assert listed("b" * 64) == "b" * 64
    assert listed("") is None
    assert listed("../etc") is None


def test_a_part_of_a_repository_gets_no_listing() -> None:
    """A client that trusted it would never fetch the others."""
    part = model({"config.json": CONFIG}, allow=("*.json",))
    assert plan_view([part]).repos[0].snapshots[0].listing is None

    both = plan_view([part, model()]).repos[0].snapshots[0]

    assert both.listing is not None
    assert len(both.files) == 4


def test_two_commits_lie_side_by_side() -> None:
    other = model({"config.json": b"{}"}, commit=C2, revision="v2")

    [tree] = plan_view([model(), other]).repos

    assert [snapshot.commit for snapshot in tree.snapshots] == [C1, C2]
    assert tree.refs == (("v2", C2), ("main", C1))
    assert plan_view([model(), other]).notes == ()


def test_main_is_what_is_locked_alone() -> None:
    """Clients look for it where no revision is named, and find nothing offline without it."""
    for revision, refs in {
        "v1.0": (("v1.0", C1), ("main", C1)),
        "refs/pr/3": (("refs/pr/3", C1), ("main", C1)),
        C1: (("main", C1),),
        C1[:8]: ((C1[:8], C1), ("main", C1)),
    }.items():
        assert plan_view([model(revision=revision)]).repos[0].refs == refs


def test_main_is_not_guessed() -> None:
    plan = plan_view([model(revision="v1"), model(commit=C2, revision="v2")])

    assert dict(plan.repos[0].refs) == {"v1": C1, "v2": C2}
    assert plan.notes == (
        "org/bert is locked at 2 commits, none as `main`: programs must name the revision",
    )


def test_the_later_of_two_wins_and_is_told() -> None:
    plan = plan_view([model(), model(commit=C2)])

    assert plan.repos[0].refs == (("main", C2),)
    [note] = plan.notes
    assert note == (
        "org/bert is locked at two commits as `main`: 1111111 and 2222222;"
        " `main` means 2222222 here"
    )
    assert plan_view([model(commit=C2), model()]).repos[0].refs == (("main", C1),)


def test_kinds_have_folders_of_their_own() -> None:
    plan = plan_view([model(), model(kind="dataset"), model(kind="space", repo="bare")])

    assert [tree.repo.folder for tree in plan.repos] == [
        "datasets--org--bert",
        "models--org--bert",
        "spaces--bare",
    ]


def with_file(**changes: object) -> LockedModel:
    given = {"path": "a", "size": 1, "sha256": "a" * 64, "blob": "a" * 64, **changes}
    files = (ModelFile(**given),)  # type: ignore[arg-type]
    return LockedModel(request=model().request, commit=C1, files=files)


@pytest.mark.parametrize(
    "bad",
    [
        with_file(path="../a"),
        with_file(path="/etc/passwd"),
        with_file(path="a//b"),
        with_file(path="a\nb"),
        with_file(blob="../../x"),
        with_file(blob="b" * 63),
        with_file(sha256="A" * 64),
        model(commit="main"),
        model(revision="../../x"),
        model(revision=""),
        model(repo="../.."),
        model(repo="a/b\0"),
        model({"a": b"1", "a/b": b"2"}),
        model({"a": b"1", "a/b/c": b"2"}),
    ],
)
def test_what_would_leave_its_place_is_refused(bad: LockedModel) -> None:
    if bad.request.repo.id == "../..":
        # one name, and harmless: `models--..--..`
        assert plan_view([bad]).repos[0].repo.folder == "models--..--.."
        return
    for plan in (plan_view, plan_flat):
        if plan is plan_flat and len(bad.files) == 2:
            continue  # a flat cache has no folders
        with pytest.raises(HostileRepo):
            plan([bad])


def test_a_branch_below_another_is_refused() -> None:
    """git itself allows no such two branches."""
    with pytest.raises(HostileRepo, match="is a file and a folder"):
        plan_view([model(revision="a"), model(revision="a/b")])


def test_one_name_for_two_contents_is_refused() -> None:
    with pytest.raises(HostileRepo, match="other bytes"):
        plan_view([with_file(blob="c" * 40), with_file(blob="c" * 40, sha256="d" * 64)])
    with pytest.raises(HostileRepo, match="locked twice"):
        plan_view([with_file(), with_file(sha256="d" * 64, blob="d" * 64)])


# --- flat -----------------------------------------------------------------------------------


def url_to_filename(url: str, etag: str) -> str:
    """As transformers 4.18 has it, in its words."""
    filename = hashlib.sha256(url.encode()).hexdigest()
    filename += "." + hashlib.sha256(etag.encode()).hexdigest()
    if url.endswith(".h5"):
        filename += ".h5"
    return filename


def test_flat_files_are_named_as_transformers_named_them() -> None:
    files = {"config.json": CONFIG, "tf_model.h5": WEIGHTS}

    plan = plan_flat([model(files)])

    expected = {}
    for path, data in files.items():
        for revision in ("main", C1):
            url = f"https://huggingface.co/org/bert/resolve/{revision}/{path}"
            etag = f'"{blob_name(path, data)}"'
            expected[url_to_filename(url, etag)] = {"url": url, "etag": etag}
    assert {item.name: json.loads(item.metadata) for item in plan.flat} == expected
    assert all(layout.FLAT_NAME.fullmatch(item.name) for item in plan.flat)
    assert plan.names == 4
    assert plan.sizes == {sha256(data): len(data) for data in files.values()}


def test_flat_views_follow_the_endpoint_and_hold_models_only() -> None:
    plan = plan_flat([model({"config.json": CONFIG}), model(kind="dataset")], "http://hub")

    urls = [json.loads(item.metadata)["url"] for item in plan.flat]
    assert sorted(urls) == [
        f"http://hub/org/bert/resolve/{C1}/config.json",
        "http://hub/org/bert/resolve/main/config.json",
    ]


def test_flat_views_keep_two_commits_apart() -> None:
    plan = plan_flat([model({"c": b"1"}), model({"c": b"2"}, commit=C2, revision="v2")])

    by_url = {json.loads(item.metadata)["url"].split("/")[-2]: item.sha256 for item in plan.flat}
    assert by_url == {C1: sha256(b"1"), "main": sha256(b"1"), C2: sha256(b"2"), "v2": sha256(b"2")}


@given(
    st.lists(st.tuples(st.sampled_from([C1, C2]), st.sampled_from(["main", "v1", C1])), min_size=1)
)
def test_every_ref_names_a_commit_that_is_shown(asked: list[tuple[str, str]]) -> None:
    models = [
        model({"c": commit.encode()}, commit=commit, revision=revision)
        for commit, revision in asked
        if revision in {commit, "main", "v1"}
    ]
    for tree in plan_view(models).repos:
        commits = {snapshot.commit for snapshot in tree.snapshots}
        assert {commit for _, commit in tree.refs} <= commits
        assert len(commits) > 1 or ("main", *commits) in tree.refs
        assert tree.repo == Repo(id="org/bert")
