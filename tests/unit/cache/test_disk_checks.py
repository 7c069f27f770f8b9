"""Each check of `cache doctor`: silent on a healthy disk, and one fault that it names."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.disk import OWNER, folder, hub_cache, place, surroundings, trials

from envforge.cache.disk_checks import CHECKS, diagnose
from envforge.cache.disk_facts import Surroundings
from envforge.model.finding import Finding, Outcome


def outcome(check: str, seen: Surroundings) -> Outcome:
    return next(item for item in diagnose(seen) if item.check == check)


def only(check: str, seen: Surroundings) -> Finding:
    [finding] = outcome(check, seen).findings
    return finding


def test_a_healthy_disk_passes_every_check() -> None:
    assert {item.check: item.verdict for item in diagnose(surroundings())} == dict.fromkeys(
        CHECKS, "passed"
    )


def test_every_claim_is_a_sentence() -> None:
    for item in diagnose(surroundings()):
        assert item.claim[:1].isupper()
        assert not item.claim.endswith(".")


CONTAINER = {"views": place("/views", mount="/views"), "in_container": True}
FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    # check: what is otherwise, a word of the message, a word of the remedy
    "store-trusted": (
        {"distrust": "others may write it", "distrust_remedy": "chmod go-w /srv/models"},
        "others may write it",
        "chmod go-w",
    ),
    "store-folders": ({"folders": (folder(mode=0o777),)}, "others may write", "chmod go-w"),
    "default-acl": (
        {"folders": (folder(acl_writers=("user 4001", "the group")),)},
        "user 4001, the group",
        "setfacl -R -k /srv/models",
    ),
    "lasting-disk": ({"store": place(kind="tmpfs")}, "memory", "--store"),
    "writable": (
        {"store": place(options=frozenset({"ro"}))},
        "read-only",
        "envforge cache prefill",
    ),
    "hardlinks": ({"trials": trials(hardlink="EPERM")}, "no hardlinks", "--store"),
    "owner-kept": ({"trials": trials(owner_kept=False)}, "root_squash", "sudo -u"),
    "modes-kept": ({"trials": trials(mode_kept=False)}, "no permissions", "--store"),
    "one-mount": (
        {**CONTAINER, "trials": trials(to_views="EXDEV")},
        "another mount of the same disk: views are full copies",
        "-v PARENT:PARENT",
    ),
    "owner-links": ({"uid": 1000}, "no service answers", "envforge cache serve"),
    "setgid": (
        {"store": place(mode=0o2750), "folders": (folder(mode=0o750),)},
        "does not pass the store's group on",
        "chmod g+s",
    ),
    "umask": ({"umask": 0o077}, "umask 0077", "umask 0022"),
    "flock": ({"trials": trials(flock="nothing")}, "does nothing", "-o flock"),
    "reads-noted": ({"trials": trials(read_noted=False)}, "not noted", "relatime"),
    "clock": ({"trials": trials(clock_ahead=-600.0)}, "600 s behind", "NTP"),
    "space": ({"store": place(free_bytes=10**9)}, "1.0 GB are left", "envforge cache gc"),
    "read-rate": ({"trials": trials(read_rate=50e6)}, "300 s to load", "local SSD"),
    "quarantine": ({"quarantined": 2}, "2 file(s)", "rm -f"),
    "foreign-locks": (
        {"hub": hub_cache(foreign=("/c/.locks",), foreign_count=3)},
        "`/c/.locks` and 2 more",
        "envforge cache view",
    ),
    "hub-variables": ({"variables": {"HF_HOME": "/data/hub"}}, "/data/hub/hub", "HF_HOME=/data"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_fault_is_named_with_its_remedy(check: str) -> None:
    changed, message, remedy = FAULTS[check]

    finding = only(check, surroundings(**changed))

    assert message in finding.message
    assert remedy in finding.remedy
    assert finding.seen
    assert finding.expected


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        *(
            (name, {"trials": trials(**{field: None})})
            for name, field in (
                ("hardlinks", "hardlink"),
                ("owner-kept", "owner_kept"),
                ("modes-kept", "mode_kept"),
                ("one-mount", "to_views"),
                ("flock", "flock"),
                ("reads-noted", "read_noted"),
                ("clock", "clock_ahead"),
                ("read-rate", "read_rate"),
            )
        ),
        ("lasting-disk", {"store": place(kind=None)}),
        ("umask", {"umask": None}),
        ("owner-links", {"uid": 1000, "protected_hardlinks": None}),
    ],
)
def test_what_could_not_be_seen_is_no_pass(check: str, changed: dict[str, Any]) -> None:
    found = outcome(check, surroundings(**changed))

    assert found.verdict == "unproven"
    assert found.detail


def test_a_folder_of_another_owner_is_named() -> None:
    finding = only("store-folders", surroundings(folders=(folder(owner=1000),)))

    assert "user 1000" in finding.message
    assert finding.remedy == f"chown {OWNER} /srv/models/ab"


@pytest.mark.parametrize(
    ("store", "inner", "remedy"), [(0o755, 0o700, "chmod go+rx"), (0o2750, 0o2700, "chmod g+rx")]
)
def test_a_folder_that_readers_cannot_enter(store: int, inner: int, remedy: str) -> None:
    seen = surroundings(store=place(mode=store), folders=(folder(mode=inner),))

    assert only("store-folders", seen).remedy == f"{remedy} /srv/models/ab"


def test_a_containers_layer_is_no_place_to_stay() -> None:
    assert "-v STORE:" in only("lasting-disk", surroundings(store=place(kind="overlay"))).remedy


def test_an_owner_who_may_not_write() -> None:
    finding = only("writable", surroundings(store=place(writable=False)))

    assert finding.severity == "error"


def test_who_only_reads_need_not_write() -> None:
    assert outcome("writable", surroundings(uid=1000, store=place(writable=False))).findings == ()


@pytest.mark.parametrize(
    ("changed", "message", "remedy"),
    [
        ({"views": place("/v", mount="/v")}, "views are full copies", "mount the folder above"),
        ({"views": place("/v", mount="/v", device=9)}, "on another disk", "unset ENVFORGE_VIEWS"),
        (
            {"trials": trials(to_views="EXDEV", reflink="")},
            "reflinks, which share the disk but not memory",
            "",
        ),
        ({"trials": trials(to_views="EPERM")}, "link(2) from the store", ""),
    ],
)
def test_views_elsewhere(changed: dict[str, Any], message: str, remedy: str) -> None:
    finding = only("one-mount", surroundings(**{"trials": trials(to_views="EXDEV"), **changed}))

    assert message in finding.message
    assert remedy in finding.remedy
    assert finding.severity == "warning"


def test_where_nothing_links_views_are_not_blamed() -> None:
    seen = surroundings(trials=trials(hardlink="EPERM", to_views="EPERM"))

    assert outcome("one-mount", seen).findings == ()


@pytest.mark.parametrize(
    "changed",
    [{"is_served": True}, {"protected_hardlinks": False}, {"is_store": False}],
)
def test_users_get_hardlinks_when_somebody_serves(changed: dict[str, Any]) -> None:
    assert outcome("owner-links", surroundings(uid=1000, **changed)).findings == ()


def test_a_group_store_whose_folder_has_another_group() -> None:
    seen = surroundings(
        store=place(mode=0o2750), folders=(folder(mode=0o2750, group=5), folder(mode=0o2750))
    )

    assert "group 5" in only("setgid", seen).seen


@pytest.mark.parametrize("option", ["localflock", "local_lock=all"])
def test_locks_of_one_host_only(option: str) -> None:
    seen = surroundings(store=place(kind="lustre", options=frozenset({"rw", option})))

    assert "this host only" in only("flock", seen).message


def test_locks_that_fail() -> None:
    assert "(ENOLCK)" in only("flock", surroundings(trials=trials(flock="ENOLCK"))).message


def test_few_inodes() -> None:
    finding = only("space", surroundings(store=place(free_inodes=500)))

    assert "500 inodes" in finding.message


def test_without_a_store_nothing_of_it_can_be_removed() -> None:
    """What mends it has to work: `cache gc` fails where there is no store."""
    finding = only("space", surroundings(store=place(free_bytes=10**9), is_store=False))

    assert finding.remedy.startswith("du -xh -d 1 ")


def test_a_small_disk_is_full_at_a_tenth() -> None:
    small = place(free_bytes=2 * 10**9, all_bytes=10 * 10**9)

    assert outcome("space", surroundings(store=small)).findings == ()
