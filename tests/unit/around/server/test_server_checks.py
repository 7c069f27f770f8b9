"""Each check of `doctor`: silent on a healthy server, and one fault that it names."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from fakes.disk import place
from fakes.server import address, package_cache, replaced, server, spot
from hypothesis import given
from hypothesis import strategies as st

from envforge.around.server.server_checks import TOPICS
from envforge.around.server.server_facts import (
    CACHE,
    ENVIRONMENTS,
    HOME,
    OWN,
    TEMPORARY,
    PackageCache,
    ServerFacts,
    Spot,
)
from envforge.model.finding import Finding, Outcome, judged

CHECKS = {name: check for checks in TOPICS.values() for name, check in checks.items()}


def outcome(check: str, seen: ServerFacts) -> Outcome:
    [found] = judged({check: CHECKS[check]}, seen)
    return found


def only(check: str, seen: ServerFacts) -> Finding:
    [finding] = outcome(check, seen).findings
    return finding


def test_a_healthy_server_passes_every_check() -> None:
    found = {item.check: item.verdict for item in judged(CHECKS, server())}
    assert found == dict.fromkeys(CHECKS, "passed")


def test_every_claim_is_a_sentence_and_every_id_its_own() -> None:
    assert len(CHECKS) == sum(map(len, TOPICS.values()))
    for item in judged(CHECKS, server()):
        assert item.claim[:1].isupper()
        assert not item.claim.endswith(".")


SILENT = {"state": "silent", "reason": "name or service not known", "milliseconds": None}
FAULTS: list[tuple[str, dict[str, Any], str, str, str]] = [
    # check, what is otherwise, severity, words of the message, words of the remedy
    ("disk-room", replaced(HOME, free_bytes=10**9, device=8), "error", "1.0 GB are left", "du -xh"),
    ("disk-room", replaced(HOME, free_bytes=10**10, device=8), "warning", "(home)", "du -xh"),
    (
        "disk-room",
        replaced(ENVIRONMENTS, free_bytes=10**9, all_bytes=2 * 10**9, device=8),
        "error",
        "1.0 GB are left",
        "du -xh",
    ),
    ("disk-files", replaced(HOME, free_inodes=99_000, device=8), "warning", "99,000", "--inodes"),
    ("disk-files", replaced(HOME, free_inodes=9_000, device=8), "error", "9,000", "--inodes"),
    (
        "disk-writable",
        replaced(ENVIRONMENTS, options=frozenset({"ro"})),
        "error",
        "read-only",
        "remount,rw /srv",
    ),
    (
        "disk-writable",
        replaced(ENVIRONMENTS, writable=False),
        "error",
        "may not write",
        "ENVFORGE_PREFIXES",
    ),
    ("disk-writable", replaced(HOME, writable=False), "error", "(home)", "sudo chown"),
    (
        "disk-executable",
        replaced(ENVIRONMENTS, options=frozenset({"noexec"})),
        "error",
        "no interpreter",
        "remount,exec",
    ),
    (
        "disk-executable",
        replaced(TEMPORARY, options=frozenset({"noexec"})),
        "warning",
        "compilers",
        "TMPDIR",
    ),
    (
        "disk-lasting",
        replaced(ENVIRONMENTS, kind="tmpfs"),
        "warning",
        "in memory",
        "ENVFORGE_PREFIXES",
    ),
    (
        "disk-lasting",
        replaced(CACHE, kind="overlay"),
        "warning",
        "own layer",
        "ENVFORGE_PACKAGE_CACHE",
    ),
    (
        "disk-linked",
        replaced(CACHE, device=8),
        "warning",
        "full copy",
        "ENVFORGE_PACKAGE_CACHE=/srv/pkgs",
    ),
    ("tmp-sticky", replaced(TEMPORARY, mode=0o777), "error", "exchange", "chmod 1777"),
    ("quota", replaced(HOME, quota_bytes=10**9, device=8), "error", "1.0 GB", "du -xh"),
    ("quota", replaced(HOME, quota_bytes=10**10, device=8), "warning", "10.0 GB", "du -xh"),
    ("quota", replaced(HOME, quota_files=50_000, device=8), "warning", "50,000 files", "--inodes"),
    ("quota", replaced(HOME, quota_files=500, device=8), "error", "500 files", "--inodes"),
    (
        "cache-entered",
        {"caches": (package_cache(is_hidden=True, exists=False, nearest="/root"),)},
        "warning",
        "`/root` is closed to you",
        "chmod go+x /root",
    ),
    (
        "disk-writable",
        replaced(HOME, writable=False, exists=False),
        "error",
        "(home)",
        "sudo install -d -o $USER /srv/home",
    ),
    ("cache-safe", {"caches": (package_cache(mode=0o777),)}, "error", "everybody", "chmod o-w"),
    ("cache-group", {"caches": (package_cache(mode=0o775),)}, "warning", "group on", "chmod g+s"),
    (
        "cache-open",
        {"caches": (package_cache(closed=("/srv/pkgs/a-1-0",), closed_count=1),)},
        "error",
        "1 package in",
        "go+rX",
    ),
    (
        "cache-linkable",
        {"caches": (package_cache(foreign_count=2),)},
        "warning",
        "copied",
        "chmod -R g+w",
    ),
    (
        "cache-clean",
        {"caches": (package_cache(leftovers=("/srv/pkgs/x.partial",), leftover_count=1),)},
        "warning",
        "1 leftover",
        "rm -r /srv/pkgs/x.partial",
    ),
    ("channels", {"addresses": (address(**SILENT),)}, "error", "does not answer", "curl -sSI"),
    (
        "channels",
        {"addresses": (address(optional=True, **SILENT),)},
        "warning",
        "not known",
        "ENVFORGE_OFFLINE=1",
    ),
    (
        "channels",
        {"addresses": (address(state="missing", reason="no such folder", url="/no channel"),)},
        "error",
        "is not to be had",
        "ls -d '/no channel'",
    ),
    (
        "channels",
        {"addresses": (address(state="missing", reason="`$T` is not set", url=""),)},
        "error",
        "`$T` is not set",
        "~/.condarc",
    ),
    ("channels", {"addresses": (address(milliseconds=9e3),)}, "warning", "9.0 s", "--mirror"),
    (
        "wheel-indexes",
        {"addresses": (address("1", kind="wheel index", state="refuses", reason="a login (401)"),)},
        "error",
        "refuses: a login (401)",
        "curl -sSI",
    ),
    ("hub", {"addresses": (address(kind="hub", **SILENT),)}, "error", "hub of models", "curl"),
    ("clock-right", {"addresses": (address(clock_ahead=-40.0),)}, "warning", "40 s fast", "ntp"),
    ("clock-right", {"addresses": (address(clock_ahead=900.0),)}, "error", "900 s slow", "ntp"),
    (
        "clock-kept",
        {"clock_kept": False, "addresses": ()},
        "warning",
        "drift",
        "timedatectl set-ntp true",
    ),
    (
        "umask-own",
        {"umask": 0o077, "caches": (package_cache(mode=0o2775),)},
        "warning",
        "umask 0077",
        "umask 0002",
    ),
    ("umask-own", {"umask": 0o077}, "warning", "umask 0077", "umask 0022"),
    ("umask-own", {"umask": 0o000}, "error", "everybody change what you make", "umask 0022"),
    (
        "cache-entered",
        {"caches": (package_cache(is_closed=True, mode=0o2770),)},
        "error",
        "closed to you",
        "sudo chmod o+rx /srv/pkgs",
    ),
    ("umask-login", {"login_umask": 0o000}, "error", "umask 0000", "login.defs"),
]


REMEDIES: list[tuple[str, str, str]] = [
    ("login", "channel", "echo machine conda.example login USER password PASSWORD >> ~/.netrc"),
    ("login", "hub", "hf auth login"),
    ("proxy", "channel", "export HTTP_PROXY="),
    ("forbidden", "wheel index", "curl -sSi https://conda.example/x | head"),
    ("busy", "hub", "hf auth login"),
    ("busy", "channel", "envforge lock ENV --mirror"),
    ("busy", "wheel index", "export PIP_INDEX_URL="),
    ("certificate", "hub", "export SSL_CERT_FILE="),
    ("validity", "channel", "sudo timedatectl set-ntp true"),
]


@pytest.mark.parametrize(("cause", "kind", "remedy"), REMEDIES)
def test_a_server_that_refuses_is_mended_by_its_cause(cause: str, kind: str, remedy: str) -> None:
    check = {"channel": "channels", "wheel index": "wheel-indexes", "hub": "hub"}[kind]
    found = address("x", kind=kind, state="refuses", cause=cause)

    assert only(check, server(addresses=(found,))).remedy.startswith(remedy)


@pytest.mark.parametrize(("check", "otherwise", "severity", "says", "mends"), FAULTS)
def test_a_fault_is_named_with_what_mends_it(
    check: str, otherwise: dict[str, Any], severity: str, says: str, mends: str
) -> None:
    finding = only(check, server(**otherwise))

    assert says in finding.message
    assert mends in finding.remedy
    assert finding.severity == severity


def test_every_check_has_a_fault() -> None:
    """But the one that can only say that it cannot look."""
    assert {check for check, *_ in FAULTS} == set(CHECKS) - {"quota-remote"}


def test_folders_below_one_that_is_closed_are_one_finding() -> None:
    """What opens the home opens them all; another folder would lie in the same home."""
    below = {"nearest": "/home/ann", "path": "/home/ann/x", "writable": False, "exists": False}
    seen = server(spots=(spot(HOME, **{**below, "path": "/home/ann", "exists": True}),
                         spot(ENVIRONMENTS, **below), spot(OWN, **below)))  # fmt: skip

    finding = only("disk-writable", seen)

    assert "(home, environments, envforge's cache)" in finding.message
    assert finding.remedy == "sudo chown $USER /home/ann"


@pytest.mark.parametrize(
    ("mount", "cache", "remedy"),
    [
        ("/data", "/pkgs", "/data/envs/pkgs"),
        ("/", "/pkgs", "/data/envs/pkgs"),
        ("/data/envs/of all", "/pkgs", "'/data/envs/of all/.pkgs'"),
        ("/data", "/data/envs/pkgs", "'/data/envs/of all/.pkgs'"),
    ],
)
def test_packages_move_to_the_disk_of_the_environments(mount: str, cache: str, remedy: str) -> None:
    """Beside a mount there is another disk, and the cache itself may be a mount."""
    spots = (
        spot(ENVIRONMENTS, path="/data/envs/of all", mount=mount, device=8),
        spot(CACHE, path=cache, mount=cache),
    )

    finding = only("disk-linked", server(spots=spots))

    assert finding.remedy == f"export ENVFORGE_PACKAGE_CACHE={remedy}"


UNSEEN: list[tuple[str, dict[str, Any], str]] = [
    ("quota-remote", replaced(HOME, kind="nfs4"), "home: on a file server"),
    ("disk-linked", {"spots": ()}, "not known"),
    ("channels", {"addresses": ()}, "none was asked"),
    ("hub", {"addresses": (address(kind="hub", state="offline", reason="offline"),)}, "offline"),
    ("clock-right", {"addresses": ()}, "no server"),
    ("clock-kept", {"clock_kept": None}, "does not tell"),
    ("umask-own", {"umask": None}, "does not tell"),
    ("umask-login", {"login_umask": None}, "does not tell"),
    (
        "cache-linkable",
        {"caches": (package_cache(foreign_count=1),), "protected_hardlinks": None},
        "does not tell",
    ),
]


@pytest.mark.parametrize(("check", "otherwise", "why"), UNSEEN)
def test_what_cannot_be_seen_is_no_pass(check: str, otherwise: dict[str, Any], why: str) -> None:
    found = outcome(check, server(**otherwise))

    assert found.verdict == "unproven"
    assert why in found.detail


QUIET: list[tuple[str, dict[str, Any]]] = [
    ("disk-files", replaced(HOME, free_inodes=None, device=8)),
    ("cache-linkable", {"caches": (package_cache(foreign_count=9),), "uid": 0}),
    ("cache-linkable", {"caches": (package_cache(is_ours=False, foreign_count=9),)}),
    ("cache-safe", {"caches": (package_cache(exists=False, mode=0o777),)}),
    ("clock-kept", {"clock_kept": False}),
    ("tmp-sticky", replaced(TEMPORARY, mode=0o700)),
    ("umask-own", {"umask": 0o077, "caches": (package_cache(mode=0o700),)}),
]


@pytest.mark.parametrize(("check", "otherwise"), QUIET)
def test_what_is_no_fault_is_passed(check: str, otherwise: dict[str, Any]) -> None:
    assert outcome(check, server(**otherwise)).verdict == "passed"


def test_one_full_disk_is_one_finding() -> None:
    full = tuple(spot(name, free_bytes=0) for name in (HOME, ENVIRONMENTS, CACHE))

    assert "(home, environments, package cache)" in only("disk-room", server(spots=full)).message


def test_one_cause_is_one_finding() -> None:
    """Of channels on one server; another server is another cause."""
    dead = [address(name, **SILENT) for name in ("conda-forge", "pytorch")]
    other = address("site", url="https://site.example/c", **SILENT)

    found = outcome("channels", server(addresses=(*dead, other))).findings

    assert [item.message.partition(" (")[0] for item in found] == [
        "channels conda-forge, pytorch",
        "channel site",
    ]


def test_one_server_with_a_wrong_clock_does_not_accuse_ours() -> None:
    clocks = (0.2, 0.1, 5000.0)
    told = tuple(address(str(ahead), clock_ahead=ahead) for ahead in clocks)

    assert outcome("clock-right", server(addresses=told)).verdict == "passed"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_path_is_one_word_of_every_remedy(name: str) -> None:
    """Whatever it holds, a shell takes it as it is."""
    path = f"/srv/{name}"
    odd = place(path, nearest=path, mount=path, mode=0o777, free_bytes=0, writable=False)
    seen = ServerFacts(
        spots=(Spot(name=HOME, place=odd), Spot(name=TEMPORARY, place=odd)),
        caches=(
            PackageCache(place=odd, is_ours=True, leftovers=(path,), leftover_count=1),
            PackageCache(place=odd, is_ours=False, closed=(path,), closed_count=1),
        ),
    )
    remedies = [
        finding.remedy
        for check in ("disk-room", "tmp-sticky", "cache-safe", "cache-open", "cache-clean")
        for finding in outcome(check, seen).findings
    ]

    assert len(remedies) == 6
    assert all(path in shlex.split(remedy) for remedy in remedies)
