"""Facts about a store and its views, compared with the locks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fakes.viewing import BERT, C1, C2, WEIGHTS, model, sha256

from envforge.cache import health
from envforge.cache.health import InView, Stored, ViewFacts
from envforge.cache.survey import LockedModels
from envforge.cache.view_plan import plan_flat, plan_view
from envforge.model.health import Flaw, StoreHealth
from envforge.model.models import LockedModel, ModelsLock
from envforge.model.views import RegisteredView, ViewedModel

ROOT = "/store"
SHA = sha256(WEIGHTS)


def locked(*models: LockedModel, environment: str = "env") -> LockedModels:
    return LockedModels(environment=environment, user="ada", lock=ModelsLock(models=models))


NEEDED = health.needed([locked(model())])


def stored(sha: str = SHA, **given: Any) -> Stored:
    size = NEEDED[sha].size if sha in NEEDED else 5
    return Stored(**{"sha256": sha, "path": f"{ROOT}/{sha[:2]}/{sha}", "size": size, **given})


def whole(**changed: Stored) -> list[Stored]:
    return [changed.get("weights", stored()) if sha == SHA else stored(sha) for sha in NEEDED]


def judged(items: list[Stored]) -> tuple[Flaw, ...]:
    return health.judge_store(items, NEEDED, root=ROOT, owner=900)


def test_what_is_there_is_right() -> None:
    assert judged(whole()) == ()


def test_a_file_of_two_paths_is_wanted_once() -> None:
    assert NEEDED[SHA].by == (
        "env: org/bert model.safetensors",
        "env: org/bert onnx/deep/model.onnx",
    )
    assert NEEDED[SHA].environments == ("env",)


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"size": 3}, "wrong-size", "has 3 bytes, locked are 10,240"),
        ({"found": "e" * 64}, "wrong-bytes", "eeeeeeeeeeee"),
        ({"is_file": False, "mode": 0o777}, "no-file", "no regular file"),
        ({"mode": 0o644}, "writable", "mode 0644"),
        ({"mode": 0o400}, "unreadable", "mode 0400"),
        ({"owner": 1000}, "foreign", "user 1000"),
        ({"problem": "input/output error"}, "unseen", "input/output error"),
    ],
)
def test_a_flaw_is_named(changed: dict[str, Any], kind: str, message: str) -> None:
    [flaw] = judged(whole(weights=stored(**changed)))

    assert flaw.kind == kind
    assert message in flaw.message
    assert flaw.remedy
    assert not flaw.is_warning


def test_what_is_locked_and_absent_is_missing() -> None:
    [flaw] = judged([item for item in whole() if item.sha256 != SHA])

    assert flaw.kind == "missing"
    assert flaw.remedy == "envforge cache prefill env"
    assert "env: org/bert model.safetensors" in flaw.wanted_by


def test_a_second_inode_alone_does_not_replace_the_first() -> None:
    items = [item for item in whole() if item.sha256 != SHA]

    [flaw] = judged([*items, stored(copy=1)])

    assert flaw.kind == "missing"


def test_what_no_lock_names_is_judged_by_its_name() -> None:
    stray = stored("a" * 64, found="b" * 64)

    [flaw] = judged([*whole(), stray])

    assert flaw.kind == "wrong-bytes"
    assert flaw.wanted_by == ()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, False), ({"mode": 0o644}, True), ({"owner": 5}, True), ({"owner": 0}, False)],
)
def test_what_others_could_write_is_always_read(changed: dict[str, Any], expected: bool) -> None:
    assert health.must_be_read(stored(**changed), 900) is expected


def test_folders_that_readers_cannot_enter() -> None:
    flaws = list(health.judge_folders([("/s/aa", 0o755), ("/s/bb", 0o700)], mode=0o755))

    assert [(flaw.path, flaw.remedy) for flaw in flaws] == [("/s/bb", "chmod go+rx /s/bb")]
    [flaw] = health.judge_folders([("/s/cc", 0o700)], mode=0o2750)
    assert flaw.remedy == "chmod g+rx /s/cc"


def test_an_index_that_leads_astray() -> None:
    names = {"1" * 40: ("/i/1", SHA), "2" * 40: ("/i/2", SHA), "3" * 40: ("/i/3", "c" * 64)}

    [flaw] = health.judge_index(names, {SHA: "2" * 40})

    assert (flaw.kind, flaw.path) == ("wrong-name", "/i/1")


# --- views ----------------------------------------------------------------------------------

VIEW = RegisteredView(
    path="/v",
    owner=1000,
    environment="env",
    models=(ViewedModel(repo=model().repo, commit=C1, revision="main"),),
    modes=dict.fromkeys(NEEDED, "hardlink"),
)
REPO = "models--org--bert"


def view_facts(**given: Any) -> ViewFacts:
    """A view as it should be."""
    plan = plan_view([model()])
    [tree] = plan.repos
    [snapshot] = tree.snapshots
    about: dict[str, Any] = {
        "refs": {(REPO, "main"): C1},
        "links": {
            (REPO, C1, path): f"{'../' * (2 + path.count('/'))}blobs/{blob}"
            for path, blob in snapshot.files
        },
        "files": {
            (REPO, blob.name): InView(is_file=True, size=blob.size, is_linked=True)
            for blob in tree.blobs
        },
    }
    return ViewFacts(view=VIEW, plan=plan, **{**about, **given})


def without(mapping: Any, key: object) -> Any:
    return {k: value for k, value in mapping.items() if k != key}


def with_weights(**changed: Any) -> ViewFacts:
    facts = view_facts()
    item = replace(facts.files[REPO, SHA], **changed)
    return replace(facts, files={**facts.files, (REPO, SHA): item})


def test_a_view_as_it_should_be() -> None:
    assert health.judge_view(view_facts()) == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"is_linked": False, "is_damaged": True}, "quarantine"),
        ({"is_linked": False, "size": 3}, "has 3 bytes"),
        ({"is_linked": False, "found": "e" * 64}, "other bytes"),
        ({"is_linked": False, "is_file": False}, "no regular file"),
    ],
)
def test_a_file_of_a_view_with_other_bytes(changed: dict[str, Any], message: str) -> None:
    [flaw] = health.judge_view(with_weights(**changed))

    assert flaw.kind == "view-file"
    assert message in flaw.message
    assert flaw.view == "/v"
    assert flaw.path == f"/v/{REPO}/blobs/{SHA}"
    assert flaw.remedy == "envforge cache view env"


def test_a_file_of_its_own_is_a_warning() -> None:
    [flaw] = health.judge_view(with_weights(is_linked=False, found=SHA))

    assert flaw.kind == "view-copy"
    assert flaw.is_warning


def test_a_view_of_copies_may_hold_copies() -> None:
    facts = with_weights(is_linked=False, found=SHA)
    view = replace(VIEW, modes=dict.fromkeys(NEEDED, "copy"))

    assert health.judge_view(replace(facts, view=view)) == ()


def test_missing_parts_of_a_view() -> None:
    facts = view_facts()
    lost = replace(
        facts,
        files=without(facts.files, (REPO, SHA)),
        links=without(facts.links, (REPO, C1, "config.json")),
        refs={},
    )

    flaws = health.judge_view(lost)

    assert {flaw.path.removeprefix(f"/v/{REPO}/") for flaw in flaws} == {
        f"blobs/{SHA}",
        f"snapshots/{C1}/config.json",
        "refs/main",
    }
    assert not any(flaw.is_warning for flaw in flaws)


def test_a_link_elsewhere_is_told_with_where() -> None:
    facts = view_facts()
    key = REPO, C1, "onnx/deep/model.onnx"

    [flaw] = health.judge_view(replace(facts, links={**facts.links, key: "/etc/passwd"}))

    assert "leads to `/etc/passwd`" in flaw.message


def test_a_branch_that_a_client_moved_is_a_warning() -> None:
    [flaw] = health.judge_view(view_facts(refs={(REPO, "main"): C2}))

    assert flaw.kind == "view-ref"
    assert flaw.is_warning


def test_a_branch_of_nonsense_is_a_problem() -> None:
    [flaw] = health.judge_view(view_facts(refs={(REPO, "main"): "\0" * 40}))

    assert not flaw.is_warning


def test_a_view_that_is_gone_or_closed_to_us() -> None:
    [gone] = health.judge_view(view_facts(is_there=False))
    [closed] = health.judge_view(view_facts(unseen="permission denied"))

    assert (gone.kind, gone.is_warning) == ("view-gone", True)
    assert (closed.kind, closed.is_warning) == ("unseen", True)


def test_a_flat_view() -> None:
    plan = plan_flat([model()])
    files = {
        ("", item.name): InView(is_file=True, size=item.size, is_linked=True) for item in plan.flat
    }
    facts = ViewFacts(view=replace(VIEW, layout="flat"), plan=plan, files=files)

    assert health.judge_view(facts) == ()
    assert len(health.judge_view(replace(facts, files={}))) == len(plan.flat)


def test_of_two_locks_the_views_own_counts() -> None:
    other = {**BERT, "config.json": b"{}"}
    locks = [locked(model()), locked(model(other), environment="another")]

    [shown] = health.shown_models(VIEW, locks)

    assert shown == model()
    assert health.shown_models(VIEW, [locked(model(commit=C2))]) == []


def test_problems_come_before_warnings() -> None:
    warning = Flaw(kind="view-copy", path="/a", message="", is_warning=True)
    problem = Flaw(kind="missing", path="/b", message="")

    assert health.in_order([warning, problem]) == (problem, warning)


def test_warnings_alone_pass() -> None:
    report = StoreHealth(store=ROOT, files=0, size=0, read=0, views=0, locks=())
    warning = Flaw(kind="view-copy", path="/a", message="", is_warning=True)

    assert report.passed
    assert replace(report, flaws=(warning,)).passed
    assert not replace(report, flaws=(replace(warning, is_warning=False),)).passed
