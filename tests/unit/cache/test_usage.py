"""Bytes by inode, split into shared, own and reclaimable."""

from __future__ import annotations

from typing import Any

from envforge.cache.survey import (
    FileFacts,
    LockedModels,
    StoredFile,
    Survey,
    Tree,
    TreeFile,
    TreeSnapshot,
)
from envforge.cache.usage import GROUPINGS, Usage, UsageRow, usage
from envforge.model.models import LockedModel, ModelFile, ModelRequest, ModelsLock, Repo

C1, C2 = "1" * 40, "2" * 40


def facts(inode: int, size: int = 100, links: int = 1, **more: Any) -> FileFacts:
    known: dict[str, Any] = {"device": 1, "owner": 0, "read": 5.0, "changed": 1.0, **more}
    return FileFacts(inode=inode, size=size, disk=size, links=links, **known)


def stored(inode: int, name: str, **more: Any) -> StoredFile:
    return StoredFile(sha256=name, facts=facts(inode, **more))


def blob(found: FileFacts, name: str, repo: str = "o/m", **more: Any) -> TreeFile:
    return TreeFile(**{"role": "blob", "repo": repo, "name": name, "facts": found, **more})


def shows(*blobs: str, commit: str = C1, repo: str = "o/m", **more: Any) -> TreeSnapshot:
    known = {"refs": ("main",), **more}
    return TreeSnapshot(repo=repo, commit=commit, blobs=frozenset(blobs), **known)


def tree(
    name: str, *files: TreeFile, snapshots: tuple[TreeSnapshot, ...] = (), **more: Any
) -> Tree:
    known: dict[str, Any] = {"user": "ann", "environment": name, **more}
    return Tree(path=f"/views/{name}", files=files, snapshots=snapshots, **known)


def survey(*stored: StoredFile, **more: Any) -> Usage:
    return usage(Survey(store="/store", stored=stored, **more))


def amounts(row: UsageRow) -> tuple[int, int, int, int]:
    return row.bytes, row.shared, row.own, row.reclaimable


def by(found: Usage, grouping: Any) -> dict[str, tuple[int, int, int, int]]:
    return {row.name: amounts(row) for row in found.rows(grouping)}


def two_views() -> Usage:
    """`s` is in both views, `a` in one of them, `n` in none."""
    s, a = facts(1, 100, links=3), facts(2, 20, links=2)
    return survey(
        StoredFile(sha256="s", facts=s),
        StoredFile(sha256="a", facts=a),
        stored(3, "n", size=3),
        trees=(
            tree("a", blob(s, "s"), blob(a, "a"), snapshots=(shows("s", "a"),)),
            tree("b", blob(s, "s", "o/n"), snapshots=(shows("s", repo="o/n"),), user="bob"),
        ),
    )


def test_each_inode_counts_once() -> None:
    found = two_views()
    assert amounts(found.total) == (123, 100, 20, 3)
    assert found.total.files == 3
    assert by(found, "environment") == {
        "a": (120, 100, 20, 0),
        "b": (100, 100, 0, 0),
        "(unused)": (3, 0, 0, 3),
    }
    assert by(found, "owner") == {
        "ann": (120, 100, 20, 0),
        "bob": (100, 100, 0, 0),
        "(unused)": (3, 0, 0, 3),
    }
    assert by(found, "repo") == {
        "o/m": (120, 100, 20, 0),
        "o/n": (100, 100, 0, 0),
        "(unused)": (3, 0, 0, 3),
    }


def test_parts_add_up_in_every_row() -> None:
    found = two_views()
    for grouping in GROUPINGS:
        for row in (found.total, *found.rows(grouping)):
            assert row.bytes == row.shared + row.own + row.reclaimable


def test_rows_say_who_and_how() -> None:
    [first, *_] = two_views().rows("repo")
    assert first.environments == ("a",)
    assert first.owners == ("ann",)
    assert first.modes == ("hardlink",)
    assert first.last_read == 5.0
    assert two_views().total.environments == ("a", "b")


def test_two_revisions_of_one_repository() -> None:
    """What both show is shared by them, and the repository's own."""
    both, new = facts(1, 100, links=2), facts(2, 10, links=2)
    found = survey(
        StoredFile(sha256="x", facts=both),
        StoredFile(sha256="y", facts=new),
        trees=(
            tree(
                "a",
                blob(both, "x"),
                blob(new, "y"),
                snapshots=(shows("x"), shows("x", "y", commit=C2)),
            ),
        ),
    )
    assert by(found, "revision") == {
        "o/m@111111111111": (100, 100, 0, 0),
        "o/m@222222222222": (110, 100, 10, 0),
    }
    assert by(found, "repo") == {"o/m": (110, 0, 110, 0)}


def test_a_detached_revision_is_reclaimable_unless_somebody_pinned_it() -> None:
    old = facts(1, 100)
    own_file = tree("a", blob(old, "x"), snapshots=(shows("x", refs=()),))
    assert by(survey(trees=(own_file,)), "repo") == {"o/m": (100, 0, 0, 100)}
    pinned = tree("a", blob(old, "x"), snapshots=(shows("x", refs=(), is_pinned=True),))
    assert by(survey(trees=(pinned,)), "repo") == {"o/m": (100, 0, 100, 0)}


def test_what_no_snapshot_shows_is_reclaimable() -> None:
    found = survey(trees=(tree("a", blob(facts(1), "x")),))
    assert by(found, "revision") == {"o/m": (100, 0, 0, 100)}


def test_unfinished_downloads_are_no_content() -> None:
    part = TreeFile(role="partial", repo="o/m", name="x.incomplete", facts=facts(1, 7))
    bare = TreeFile(role="partial", repo="", name="y.incomplete", facts=facts(2, 8))
    found = survey(trees=(tree("a", part, bare),))
    assert by(found, "repo") == {"(partial downloads)": (8, 0, 0, 8), "o/m": (7, 0, 0, 7)}


def test_other_names_elsewhere_are_told_and_never_reclaimable() -> None:
    """A link that nobody registered keeps the file as well as any."""
    found = survey(stored(1, "x", links=2))
    assert by(found, "environment") == {"(elsewhere)": (100, 100, 0, 0)}
    linked = facts(2, 50, links=3)
    found = survey(
        StoredFile(sha256="y", facts=linked),
        trees=(tree("a", blob(linked, "y"), snapshots=(shows("y"),)),),
    )
    assert by(found, "environment") == {"a": (50, 50, 0, 0)}


def test_a_name_in_the_trash_is_known() -> None:
    """A killed collection left it; the file is as unused as before."""
    twice = facts(1, 100, links=2)
    found = survey(
        StoredFile(sha256="x", facts=twice), aside={"trash": (twice, facts(9, 4)), "parts": ()}
    )
    assert amounts(found.total) == (100, 0, 0, 100)
    assert found.aside == {"trash": (2, 104)}


def test_copies_take_space_of_their_own_and_reflinks_do_not() -> None:
    view = tree(
        "a",
        blob(facts(11, 100), "x"),
        blob(facts(12, 30), "y"),
        snapshots=(shows("x", "y"),),
        modes={"x": "copy", "y": "reflink"},
    )
    found = survey(stored(1, "x"), stored(2, "y", size=30), trees=(view,))
    assert by(found, "environment") == {"a": (130, 0, 130, 0), "(unused)": (100, 0, 0, 100)}
    assert found.total.modes == ("copy", "reflink")


def test_a_reflink_that_was_replaced_is_the_clients_own_file() -> None:
    view = tree("a", blob(facts(12, 31), "y"), snapshots=(shows("y"),), modes={"y": "reflink"})
    found = survey(stored(2, "y", size=30), trees=(view,))
    assert found.total.bytes == 61


def test_blobs_that_git_names_are_known_by_the_index() -> None:
    view = tree("a", blob(facts(12), "g"), snapshots=(shows("g"),), modes={"x": "copy"})
    found = survey(stored(1, "x"), trees=(view,), names={"g": "x"})
    [row] = [row for row in found.rows("environment") if row.name == "a"]
    assert row.modes == ("copy",)


def test_files_that_a_client_fetched_itself() -> None:
    view = tree("a", blob(facts(5), "z"), snapshots=(shows("z"),))
    [row] = survey(trees=(view,)).rows("environment")
    assert row.modes == ("own",)
    assert amounts(row) == (100, 0, 100, 0)


def test_two_caches_that_were_linked_to_each_other() -> None:
    both = facts(5, links=2)
    found = survey(
        trees=(
            tree("", blob(both, "z"), snapshots=(shows("z"),), user="ann"),
            tree("b", blob(both, "z"), snapshots=(shows("z"),)),
        )
    )
    assert by(found, "environment") == {"/views/": (100, 100, 0, 0), "b": (100, 100, 0, 0)}
    assert amounts(found.total) == (100, 100, 0, 0)


def test_no_symlink_caches_have_files_in_their_snapshots() -> None:
    def file(commit: str, inode: int) -> TreeFile:
        return TreeFile(role="snapshot", repo="o/m", name="a/b", commit=commit, facts=facts(inode))

    view = tree("a", file(C1, 1), file(C2, 2), snapshots=(shows(), shows(commit=C2, refs=())))
    assert by(survey(trees=(view,)), "revision") == {
        "o/m@111111111111": (100, 0, 100, 0),
        "o/m@222222222222": (100, 0, 0, 100),
    }


def test_a_flat_cache_is_told_by_what_the_store_knows_of_its_files() -> None:
    x, y = facts(1, links=3), facts(2, 20, links=2)
    flat = tree(
        "a",
        TreeFile(role="flat", repo="", name="u.x", facts=x),
        TreeFile(role="flat", repo="", name="u.y", facts=y),
        models=(("o/m", C1),),
    )
    hub = tree("a", blob(x, "x"), snapshots=(shows("x"), shows("x", repo="o/m", commit=C2)))
    found = survey(
        StoredFile(sha256="x", facts=x), StoredFile(sha256="y", facts=y), trees=(flat, hub)
    )
    assert by(found, "repo") == {"o/m": (100, 0, 100, 0), "(flat cache)": (20, 0, 20, 0)}


def test_other_files_count_only_where_they_are_the_stores() -> None:
    x = facts(1, links=2)
    strange = TreeFile(role="other", repo="", name="x", facts=x)
    lone = TreeFile(role="other", repo="", name="notes", facts=facts(7, links=2))
    found = survey(StoredFile(sha256="x", facts=x), trees=(tree("a", strange, lone),))
    assert by(found, "repo") == {"(other files)": (100, 0, 100, 0)}


def lock(*hashes: str, environment: str = "e") -> LockedModels:
    files = tuple(ModelFile(path=f"f{name}", size=100, sha256=name, blob=name) for name in hashes)
    request = ModelRequest(repo=Repo(id="o/m"))
    model = LockedModel(request=request, commit=C1, files=files)
    return LockedModels(environment=environment, user="ann", lock=ModelsLock(models=(model,)))


def test_a_lock_alone_keeps_a_file() -> None:
    found = survey(stored(1, "x"), stored(2, "n"), locks=(lock("x", "missing"),))
    assert by(found, "environment") == {"(unused)": (100, 0, 0, 100), "e": (100, 0, 100, 0)}
    [row] = [row for row in found.rows("environment") if row.name == "e"]
    assert row.modes == ("no view",)


def test_a_lock_adds_nothing_to_the_view_of_its_environment() -> None:
    x = facts(1, links=2)
    view = tree("e", blob(x, "x"), snapshots=(shows("x"),))
    found = survey(StoredFile(sha256="x", facts=x), trees=(view,), locks=(lock("x"),))
    [row] = found.rows("environment")
    assert row.modes == ("hardlink",)
    assert row.own == 100


def test_reads_that_are_not_recorded() -> None:
    assert survey(stored(1, "x", read=None)).total.last_read is None
    assert survey(stored(1, "x", read=3.0), stored(2, "y", read=4.0)).total.last_read == 4.0


def test_nothing_at_all() -> None:
    assert amounts(survey().total) == (0, 0, 0, 0)
    assert survey().rows("repo") == ()
    assert survey().aside == {}
