"""Views on a real disk; `tests/integration/test_views.py` has clients, kills and other users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fakes.installing import RecordingReporter
from fakes.viewing import (
    BERT,
    C1,
    C2,
    CONFIG,
    WEIGHTS,
    git_sha1,
    model,
    place,
    sha256,
    store_with,
    tree,
    view,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envforge.adapters.store.leases import leased
from envforge.adapters.store.store import Store
from envforge.adapters.store.trees import registry
from envforge.adapters.store.trees.views import build
from envforge.cache import layout
from envforge.cache.view_plan import plan_flat, plan_view
from envforge.errors import FileNotUsable, NotCached, ViewRefused, WrongBytes
from envforge.forge.workplace import SilentReporter
from envforge.model.models import LockedModel

REPO = "models--org--bert"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return store_with(tmp_path / "store", *BERT.values(), b"{}", b"new")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return tmp_path / "view"


def test_a_view_is_what_a_client_would_have_made(store: Store, top: Path) -> None:
    result = view(store, top, model(), environment="nlp")

    repo, blob = top / REPO, sha256(WEIGHTS)
    snapshot = repo / "snapshots" / C1
    assert {p.name for p in repo.iterdir()} == {"blobs", "refs", "snapshots", "trees"}
    assert str((snapshot / "onnx/deep/model.onnx").readlink()) == f"../../../../blobs/{blob}"
    assert {path: (snapshot / path).read_bytes() for path in BERT} == BERT
    assert (repo / "refs/main").read_text() == C1
    assert (repo / "blobs" / blob).samefile(store.path(blob))
    assert (repo / "blobs" / git_sha1(CONFIG)).samefile(store.path(sha256(CONFIG)))
    assert (result.files, result.placed, result.modes) == (4, 3, {"hardlink": 3})
    assert (result.copied_bytes, result.why_copied, result.registered) == (0, "", True)
    assert not leased(store.root)


def test_the_store_knows_of_it(store: Store, top: Path) -> None:
    result = view(store, top, model(), environment="nlp")

    known = registry.find(store.root, str(top))

    assert known is not None
    assert (known.environment, known.owner, known.layout) == ("nlp", os.geteuid(), "hub")
    assert known.models == result.models
    assert known.modes == dict.fromkeys((sha256(data) for data in BERT.values()), "hardlink")


def test_a_second_run_changes_nothing(store: Store, top: Path) -> None:
    view(store, top, model())
    before = {path: path.lstat().st_mtime_ns for path in top.rglob("*")}

    again = view(store, top, model())

    assert (again.placed, again.removed) == (0, 0)
    assert {path: path.lstat().st_mtime_ns for path in top.rglob("*")} == before


def test_progress_is_told(store: Store, top: Path) -> None:
    reporter = RecordingReporter()

    build(store, plan_view([model()]), place(top), reporter, locks=top)

    assert reporter.reports[-1] == (7, 7, "files", "")


def test_what_is_missing_is_named_before_anything_is_written(store: Store, top: Path) -> None:
    with pytest.raises(NotCached, match="1 of 2 files") as caught:
        view(store, top, model({"a": b"{}", "b": b"absent"}), environment="nlp")

    assert caught.value.hint == "fetch them: `envforge cache prefill nlp`"
    assert not top.exists()


def test_a_file_of_the_wrong_size_is_missing(store: Store, top: Path) -> None:
    damaged = store.path(sha256(b"{}"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"{")

    with pytest.raises(NotCached):
        view(store, top, model({"a": b"{}"}))


def test_two_commits_side_by_side(store: Store, top: Path) -> None:
    view(store, top, model(), model({"config.json": b"{}"}, commit=C2, revision="feature/x"))

    snapshots = top / REPO / "snapshots"
    assert (snapshots / C1 / "config.json").read_bytes() == CONFIG
    assert (snapshots / C2 / "config.json").read_bytes() == b"{}"
    assert (top / REPO / "refs/feature/x").read_text() == C2
    assert (top / REPO / "refs/main").read_text() == C1


# --- refreshing -----------------------------------------------------------------------------


def test_a_new_lock_replaces_the_old_one(store: Store, top: Path, tmp_path: Path) -> None:
    view(store, top, model(revision="v1"), model({"d": b"new"}, kind="dataset"))

    result = view(store, top, model({"config.json": b"{}", "vocab.txt": b"[PAD]\n"}, commit=C2))

    view(
        store, tmp_path / "fresh", model({"config.json": b"{}", "vocab.txt": b"[PAD]\n"}, commit=C2)
    )
    assert tree(top) == tree(tmp_path / "fresh")
    assert {p.name for p in top.iterdir()} == {REPO}
    assert result.removed > 0
    assert store.path(sha256(WEIGHTS)).stat().st_nlink == 1


def test_fewer_files_of_the_same_commit(store: Store, top: Path) -> None:
    """The listing goes, too: clients would take the snapshot for broken."""
    view(store, top, model())
    part = model({"config.json": CONFIG}, allow=("*.json",))

    view(store, top, part)

    assert sorted(tree(top)) == [
        f"{REPO}/blobs/{git_sha1(CONFIG)}",
        f"{REPO}/refs/main",
        f"{REPO}/snapshots/{C1}/config.json",
    ]


def test_what_clients_added_stays(store: Store, top: Path) -> None:
    view(store, top, model())
    repo = top / REPO
    (repo / "blobs/mine").write_text("not a hash")
    (repo / "blobs" / ("e" * 40)).write_text("fetched")
    (repo / "snapshots" / C1 / "extra.txt").symlink_to(f"../../blobs/{'e' * 40}")
    (repo / "snapshots" / C1 / "plain.txt").write_text("no-symlink mode")
    (repo / "refs/other").write_text("f" * 40)
    (repo / ".no_exist" / C1).mkdir(parents=True)
    (top / ".locks").mkdir()
    (top / "models--org--theirs/blobs").mkdir(parents=True)

    view(store, top, model({"config.json": b"{}"}, commit=C2))

    found = tree(top)
    assert found[f"{REPO}/blobs/{'e' * 40}"] == "fetched"
    assert found[f"{REPO}/blobs/mine"] == "not a hash"
    assert found[f"{REPO}/snapshots/{C1}/extra.txt"] == f"-> ../../blobs/{'e' * 40}"
    assert found[f"{REPO}/snapshots/{C1}/plain.txt"] == "no-symlink mode"
    assert f"{REPO}/snapshots/{C1}/config.json" not in found
    assert found[f"{REPO}/refs/other"] == "f" * 40
    assert (repo / ".no_exist" / C1).is_dir()
    assert (top / "models--org--theirs/blobs").is_dir()


def test_a_ref_that_a_client_moved_is_set_back_and_one_we_dropped_goes(
    store: Store, top: Path
) -> None:
    view(store, top, model(revision="v1"))
    (top / REPO / "refs/main").write_text("f" * 40)
    view(store, top, model(revision="v1"))
    assert (top / REPO / "refs/main").read_text() == C1

    (top / REPO / "refs/v1").write_text("f" * 40)
    view(store, top, model(revision="v2"))

    assert (top / REPO / "refs/v1").read_text() == "f" * 40  # theirs now
    assert (top / REPO / "refs/v2").read_text() == C1


def test_a_clients_own_download_becomes_a_link(store: Store, top: Path) -> None:
    """Same name, other inode: the bytes of the store are the ones whose hash was seen."""
    blob = top / REPO / "blobs" / sha256(WEIGHTS)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(WEIGHTS[:-1] + b"?")
    shared = top / "blobs/xx"
    shared.parent.mkdir()
    shared.write_bytes(CONFIG)
    (blob.parent / git_sha1(CONFIG)).symlink_to("../../blobs/xx")  # hub's own shared store

    result = view(store, top, model())

    assert blob.samefile(store.path(sha256(WEIGHTS)))
    assert (blob.parent / git_sha1(CONFIG)).samefile(store.path(sha256(CONFIG)))
    assert not (blob.parent / git_sha1(CONFIG)).is_symlink()
    assert shared.read_bytes() == CONFIG
    assert result.placed == 3


def test_what_a_killed_run_left_aside_goes(store: Store, top: Path) -> None:
    view(store, top, model())
    left = top / REPO / ".envforge-0123456789abcdef.tmp"
    os.link(store.path(sha256(WEIGHTS)), left)

    view(store, top, model())

    assert not left.exists()


def test_a_record_that_was_lost_costs_no_view(store: Store, top: Path) -> None:
    view(store, top, model())
    registry.forget(store.root, str(top))

    result = view(store, top, model({"config.json": b"{}"}, commit=C2))

    assert result.removed == 0
    assert (top / REPO / "refs/main").read_text() == C2
    assert (top / REPO / "snapshots" / C1 / "config.json").read_bytes() == CONFIG


CHOICES = [
    model(),
    model(revision="v1"),
    model({"config.json": CONFIG}, allow=("*.json",)),
    model({"config.json": b"{}", "d/e": b"new"}, commit=C2),
    model({"config.json": b"{}", "d/e": b"new"}, commit=C2, revision="v1"),
    model({"x": b"new"}, kind="dataset"),
]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    locks=st.lists(
        st.lists(st.sampled_from(CHOICES), min_size=1, max_size=3),
        min_size=2,
        max_size=4,
    ),
    flat=st.booleans(),
)
def test_whatever_was_there_before_it_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory, locks: list[list[LockedModel]], flat: bool
) -> None:
    """A refreshed view and a fresh one differ in nothing; the store loses no file."""
    base = tmp_path_factory.mktemp("views")
    store = store_with(base / "store", *BERT.values(), b"{}", b"new")
    make = plan_flat if flat else plan_view
    layout_ = "flat" if flat else "hub"
    for chosen in locks:
        last = build(
            store, make(chosen), place(base / "v", layout=layout_), SilentReporter(), locks=base
        )
    build(
        store, make(locks[-1]), place(base / "fresh", layout=layout_), SilentReporter(), locks=base
    )

    assert tree(base / "v") == tree(base / "fresh")
    assert registry.find(store.root, str(base / "v")).models == last.models  # type: ignore[union-attr]
    for data in (*BERT.values(), b"{}", b"new"):
        assert store.holds(sha256(data), len(data))


# --- what is in the way ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "blobs", "refs", "snapshots", f"snapshots/{C1}", "trees"])
def test_no_link_in_the_view_is_followed(
    store: Store, top: Path, tmp_path: Path, name: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = top / REPO / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(elsewhere)

    with pytest.raises(ViewRefused, match="a symbolic link is where"):
        view(store, top, model())

    assert list(elsewhere.iterdir()) == []


def test_a_folder_where_a_file_belongs(store: Store, top: Path) -> None:
    (top / REPO / "blobs" / sha256(WEIGHTS)).mkdir(parents=True)

    with pytest.raises(ViewRefused, match=sha256(WEIGHTS)):
        view(store, top, model())


def test_after_a_refusal_the_view_is_made(store: Store, top: Path) -> None:
    (top / REPO / "refs").mkdir(parents=True)
    (top / REPO / "refs/main").mkdir()
    with pytest.raises(ViewRefused):
        view(store, top, model())
    (top / REPO / "refs/main").rmdir()

    view(store, top, model())

    assert (top / REPO / "refs/main").read_text() == C1


# --- no hardlinks ---------------------------------------------------------------------------


def no_hardlinks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Store, "link", refuse)


@pytest.mark.parametrize(
    ("number", "why"),
    [(18, "another filesystem or mount"), (1, "no hardlinks"), (31, "as many links")],
)
def test_copies_are_told_and_recorded(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    no_hardlinks(monkeypatch, number)

    result = view(store, top, model())

    blob = top / REPO / "blobs" / sha256(WEIGHTS)
    assert blob.read_bytes() == WEIGHTS
    assert blob.stat().st_mode & 0o777 == 0o444
    assert blob.stat().st_nlink == 1
    [mode] = result.modes  # whether this disk has reflinks is its own affair
    assert mode in {"copy", "reflink"}
    assert result.copied_bytes == sum(len(data) for data in set(BERT.values()))
    assert why in result.why_copied
    known = registry.find(store.root, str(top))
    assert known is not None
    assert set(known.modes.values()) == {mode}


def test_copies_are_not_made_twice(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_hardlinks(monkeypatch, 18)
    view(store, top, model())
    inodes = {path: path.lstat().st_ino for path in top.rglob("*")}

    again = view(store, top, model())

    assert again.placed == 0
    assert {path: path.lstat().st_ino for path in top.rglob("*")} == inodes


def test_copies_of_an_earlier_lock_go(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_hardlinks(monkeypatch, 18)
    view(store, top, model())

    view(store, top, model({"config.json": b"{}"}, commit=C2))

    assert [p.name for p in (top / REPO / "blobs").iterdir()] == [git_sha1(b"{}")]


def test_a_damaged_file_of_the_store_is_not_copied(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = store.path(sha256(WEIGHTS))
    damaged.chmod(0o644)
    damaged.write_bytes(WEIGHTS[:-1] + b"?")
    no_hardlinks(monkeypatch, 18)
    monkeypatch.setattr(
        "envforge.adapters.store.trees.linking.Placer._reflinks", False, raising=False
    )
    monkeypatch.setattr("fcntl.ioctl", _no_ioctl)

    with pytest.raises(WrongBytes):
        view(store, top, model())

    assert not (top / REPO / "blobs" / sha256(WEIGHTS)).exists()
    assert not list((top / REPO).glob(".envforge-*"))


def _no_ioctl(*_: object) -> None:
    raise OSError(95, "not supported")


def test_copies_must_fit(store: Store, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_hardlinks(monkeypatch, 18)
    monkeypatch.setattr("fcntl.ioctl", _no_ioctl)
    real = os.fstatvfs

    class Full:
        def __init__(self, descriptor: int) -> None:
            self.f_bavail, self.f_frsize = 1, real(descriptor).f_frsize

    monkeypatch.setattr("os.fstatvfs", Full)
    with pytest.raises(ViewRefused, match="do not fit into") as caught:
        view(store, top, model())
    assert "ENVFORGE_VIEWS" in (caught.value.hint or "")


def test_other_refusals_of_the_disk_are_errors(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_hardlinks(monkeypatch, 28)
    with pytest.raises(FileNotUsable, match="no space left"):
        view(store, top, model())


def test_a_file_that_left_the_store_meanwhile(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Store.link

    def link(self: Store, sha: str, target: Path, *, dir_fd: int | None = None) -> object:
        self.path(sha).unlink()
        return real(self, sha, target, dir_fd=dir_fd)

    monkeypatch.setattr(Store, "link", link)
    with pytest.raises(NotCached):
        view(store, top, model())


def test_used_up_links_cost_a_second_inode(
    store: Store, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMLINK, as ext4 says it at 65,000; the second run takes the second inode for the same."""
    first, real = store.path(sha256(WEIGHTS)), os.link

    def link(source: object, *args: object, **kwargs: object) -> None:
        if Path(str(source)) == first:
            raise OSError(31, "Too many links")
        real(source, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)

    result = view(store, top, model())

    second = layout.blob(store.root, sha256(WEIGHTS), 1)
    assert (top / REPO / "blobs" / sha256(WEIGHTS)).samefile(second)
    assert second.read_bytes() == WEIGHTS
    assert result.modes == {"hardlink": 3}
    assert view(store, top, model()).placed == 0


# --- flat -----------------------------------------------------------------------------------


def test_a_flat_view(store: Store, top: Path) -> None:
    plan = plan_flat([model({"config.json": CONFIG, "vocab.txt": b"[PAD]\n"})])
    result = build(store, plan, place(top, layout="flat"), SilentReporter(), locks=top)

    for item in plan.flat:
        assert (top / item.name).samefile(store.path(item.sha256))
        assert (top / f"{item.name}.json").read_text() == item.metadata
    assert len(list(top.iterdir())) == 8
    assert (result.layout, result.files, result.modes) == ("flat", 4, {"hardlink": 2})
