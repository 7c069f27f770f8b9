"""Each error: its sentence, its remedy, its code and its exit code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envforge import errors
from envforge.errors import EnvforgeError, InvalidFile, InvalidValue

CASES: list[tuple[EnvforgeError, int, str, str, str | None]] = [
    (
        errors.InvalidValue(what="torch version", value="2", reason="is a major version only"),
        2,
        "invalid-value",
        "torch version `2` is a major version only",
        None,
    ),
    (
        errors.InvalidValue(what="x", value="y", reason="is odd", remedy="for example `z`"),
        2,
        "invalid-value",
        "x `y` is odd",
        "for example `z`",
    ),
    (
        errors.InvalidFile(path="environment.yml", mistakes=("line 1: odd",)),
        2,
        "invalid-file",
        "`environment.yml`: line 1: odd",
        None,
    ),
    (
        errors.InvalidFile(path="environment.yml", mistakes=("a", "b"), remedy="mend it"),
        2,
        "invalid-file",
        "`environment.yml`:\n  a\n  b",
        "mend it",
    ),
    (
        errors.EnvironmentExists(folder="envs/x", differences=("torch: 2.0.0, now 2.0.1", "b")),
        2,
        "environment-exists",
        "`envs/x` exists and was made from another request:\n  torch: 2.0.0, now 2.0.1\n  b",
        "choose another project name, or replace it with `--force`",
    ),
    (
        errors.NoSuchEnvironment(name="x", searched="envs"),
        2,
        "no-such-environment",
        "no environment `x` in `envs`",
        "`envforge list` shows what is there",
    ),
    (
        errors.NoSuchEnvironment(name="x", searched="envs", nearest=("y", "z")),
        2,
        "no-such-environment",
        "no environment `x` in `envs`",
        "did you mean `y` or `z`?",
    ),
    (
        errors.EnvironmentExists(folder="envs/a", remedy="b"),
        2,
        "environment-exists",
        "`envs/a` exists already",
        "b",
    ),
    (
        errors.NoSuchEnvironment(name="", searched="envs"),
        2,
        "no-such-environment",
        "no environment of `envs` is installed",
        "`envforge list` shows what is there",
    ),
    (
        errors.NoMatchingBuild(wanted="torch 2.0.1 with CUDA 12.6", reason="it has 11.7 and 11.8"),
        3,
        "no-matching-build",
        "no PyTorch build for torch 2.0.1 with CUDA 12.6: it has 11.7 and 11.8",
        "`envforge matrix` shows what exists",
    ),
    (
        errors.NoMatchingBuild(wanted="x", reason="y", nearest=("envforge create a", "b")),
        3,
        "no-matching-build",
        "no PyTorch build for x: y",
        "nearest that exist:\n  envforge create a\n  b",
    ),
    (
        errors.DriverTooOld(driver="470.82.01", cuda="12.8", minimum="525.60.13"),
        3,
        "driver-too-old",
        "driver 470.82.01 cannot run CUDA 12.8: it needs 525.60.13 or newer",
        "update the driver to 525.60.13, or `--force` to go on anyway",
    ),
    (
        errors.DriverTooOld(driver="1", cuda="12.8", minimum="2", nearest=("a", "b")),
        3,
        "driver-too-old",
        "driver 1 cannot run CUDA 12.8: it needs 2 or newer",
        "update the driver to 2, or take what this driver runs:\n  a\n  b",
    ),
    (
        errors.DriverTooOld(driver="1", cuda="13.0", minimum="2", package="cuda-compat-13-0"),
        3,
        "driver-too-old",
        "driver 1 cannot run CUDA 13.0: it needs 2 or newer",
        "update the driver to 2, or put `cuda-compat-13-0` before it and use `--force`",
    ),
    (
        errors.NoKernelsForGpu(
            gpu="RTX 5090", capability="12.0", build="torch 2.5.1", architectures=("8.0", "9.0")
        ),
        3,
        "no-kernels-for-gpu",
        (
            "torch 2.5.1 has no kernels for `RTX 5090` (compute capability 12.0):"
            " it is built for 8.0, 9.0"
        ),
        "`envforge matrix --gpu NAME` shows what runs on this GPU",
    ),
    (
        errors.NoKernelsForGpu(
            gpu="g",
            capability="1.0",
            build="t",
            architectures=("9.0",),
            reason="why",
            nearest=("a",),
        ),
        3,
        "no-kernels-for-gpu",
        "t has no kernels for `g` (compute capability 1.0): it is built for 9.0; why",
        "what runs on it:\n  a",
    ),
    (
        errors.CannotRunHere(name="p-torch211-cu130", problems=("the driver is too old",)),
        3,
        "cannot-run-here",
        "`p-torch211-cu130` cannot run here: the driver is too old",
        "`--force` goes on nevertheless",
    ),
    (
        errors.CannotRunHere(name="p", problems=("a", "b"), remedies=("envforge create x", "c")),
        3,
        "cannot-run-here",
        "`p` cannot run here:\n  a\n  b",
        "what does:\n  envforge create x\n  c\n`--force` goes on nevertheless",
    ),
    (
        errors.Unsolvable(platform="linux-64", explanation="a\nb"),
        4,
        "unsolvable",
        "no set of packages fits together on linux-64:\n  a\n  b",
        "loosen a version, or leave a package out",
    ),
    (
        errors.Unsolvable(platform="linux-64", explanation="a", nearest=("c", "d")),
        4,
        "unsolvable",
        "no set of packages fits together on linux-64:\n  a",
        "tried, and does solve:\n  c\n  d",
    ),
    (
        errors.TooManyMoves(name="p", asked=("a",), allowed=1, moves=tuple("bcdefgh")),
        4,
        "too-many-moves",
        "updating `p` moves 7 others, and 1 is allowed: b, c, d, e, f and 2 more",
        (
            "what was asked for cannot be had without them;"
            " `--dry-run` without `--max-moves` shows all"
        ),
    ),
    (
        errors.TooManyMoves(name="p", asked=("a",), allowed=0, moves=("b",), within=("a=1",)),
        4,
        "too-many-moves",
        "updating `p` moves 1 other, and 0 are allowed: b",
        "`envforge update p a=1` moves nothing else; `--dry-run` without `--max-moves` shows all",
    ),
    (
        errors.TooManyMoves(name="p", asked=(), allowed=0, moves=("b",)),
        4,
        "too-many-moves",
        "updating `p` moves 1 package, and 0 are allowed: b",
        "`--dry-run` without `--max-moves` shows all",
    ),
    (
        errors.WrongBuild(platform="linux-64", wanted="CUDA 11.8", found="a build for CPU"),
        4,
        "wrong-build",
        "asked for CUDA 11.8 on linux-64, and the solve gave a build for CPU",
        "a package asked for forces another build; leave packages out to find it",
    ),
    (
        errors.WrongBuild(platform="l", wanted="a", found="b", remedy="c"),
        4,
        "wrong-build",
        "asked for a on l, and the solve gave b",
        "c",
    ),
    (
        errors.StaleLock(path="conda-lock.yml", reasons=("a", "b"), remedy="`envforge lock x`"),
        4,
        "stale-lock",
        "`conda-lock.yml` is not current: a; b",
        "`envforge lock x`",
    ),
    (
        errors.NotEnoughSpace(path="/p", resource="bytes", needed=2_500_000_000, available=900),
        5,
        "not-enough-space",
        "`/p` has 900 bytes free, and 2.5 GB are needed",
        "free space there, or choose another place with `--prefix` or `pkgs_dirs`",
    ),
    (
        errors.NotEnoughSpace(path="/p", resource="inodes", needed=60_000, available=3),
        5,
        "not-enough-space",
        "`/p` has 3 inodes free, and 60000 inodes are needed",
        "free space there, or choose another place with `--prefix` or `pkgs_dirs`",
    ),
    (
        errors.NotEnoughSpace(
            path="/p", resource="quota bytes", needed=1_500_000, available=40_000
        ),
        5,
        "not-enough-space",
        "`/p` has 40.0 kB of quota free, and 1.5 MB of quota are needed",
        "free space there, or choose another place with `--prefix` or `pkgs_dirs`",
    ),
    (
        errors.CorruptArchive(url="https://x/y.conda", expected="sha256 a", found="sha256 b"),
        5,
        "corrupt-archive",
        "`https://x/y.conda` is not what the lock names: expected sha256 a, got sha256 b",
        "try again; if it stays so, the channel or a proxy serves other bytes",
    ),
    (
        errors.BrokenPack(path="/p.tar", reason="it is cut off"),
        5,
        "broken-pack",
        "`/p.tar` is no pack that can be used: it is cut off",
        "copy it again, and compare its sha256 with the one that `envforge pack` told",
    ),
    (
        errors.NotPublished(name="e", root="/srv", reason="it is a file", remedy="move it"),
        5,
        "not-published",
        "`e` was not published under `/srv`: it is a file",
        "move it",
    ),
    (
        errors.BrokenPrefix(prefix="/p", reason="is a file", remedy="move it away"),
        5,
        "broken-prefix",
        "`/p`: is a file",
        "move it away",
    ),
    (errors.CacheError("full"), 6, "cache", "full", None),
    (
        errors.NoStore(path="/s"),
        6,
        "no-store",
        "store `/s` does not exist",
        "`envforge cache init` makes one; `ENVFORGE_STORE` or `--store` names another",
    ),
    (
        errors.UntrustedStore(path="/s", reason="others may write it", remedy="chmod go-w /s"),
        6,
        "untrusted-store",
        "`/s` is not safe as a store: others may write it",
        "chmod go-w /s",
    ),
    (
        errors.NotStoreOwner(path="/s", owner="models"),
        6,
        "not-store-owner",
        "store `/s` belongs to `models`, who alone may remove files from it",
        "run it as `models`; `--dry-run` shows what would go",
    ),
    (
        errors.WrongBytes(file="org/name/a.bin", expected="ab", found="cd"),
        6,
        "wrong-bytes",
        "`org/name/a.bin` has other bytes than locked: expected ab, got cd",
        "try again; if it stays so, the hub or a proxy serves other bytes",
    ),
    (
        errors.WrongBytes(file="a", expected="ab", found="cd", kept="/q"),
        6,
        "wrong-bytes",
        "`a` has other bytes than locked: expected ab, got cd",
        (
            "try again; if it stays so, the hub or a proxy serves other bytes;"
            " what came is kept in `/q`"
        ),
    ),
    (
        errors.NotCached(what="`gpt2`", searched=("/s", "/v"), remedy="prefill it"),
        6,
        "not-cached",
        "`gpt2` is not in `/s` and `/v`",
        "prefill it",
    ),
    (
        errors.NoSuchModel(what="model `gpt3`", reason="the hub has none"),
        6,
        "no-such-model",
        "model `gpt3`: the hub has none",
        None,
    ),
    (
        errors.HostileRepo(repo="org/name", path="../a\n", reason="does not stay in its folder"),
        6,
        "hostile-repo",
        "repository `org/name` lists '../a\\n', which does not stay in its folder",
        "do not use it; `ignore` in models.yml leaves single files out",
    ),
    (
        errors.ViewRefused(path="/v", reason="it is a file", remedy="name another"),
        6,
        "view-refused",
        "no view at `/v`: it is a file",
        "name another",
    ),
    (
        errors.ServiceRefused(path="/s", reason="it runs already"),
        6,
        "service-refused",
        "no service for `/s`: it runs already",
        None,
    ),
    (
        errors.StoreFull(path="/s", resource="inodes", needed=20, available=10),
        6,
        "store-full",
        "`/s` has 10 inodes free, and 20 inodes are needed",
        "`envforge cache gc --dry-run` shows what could go; `--store` names another disk",
    ),
    (
        errors.ToolFailed(command=("/usr/bin/uv", "pip"), status=2, output="one\ntwo\n"),
        7,
        "tool-failed",
        "`uv` failed (2):\n  one\n  two",
        None,
    ),
    (
        errors.ToolFailed(command=("uv",), status="timeout", output=" \n", remedy="wait"),
        7,
        "tool-failed",
        "`uv` failed (timeout)",
        "wait",
    ),
    (
        errors.ToolMissing(tool="conda-lock", needed_for="`--engine`", remedy="pip install it"),
        7,
        "tool-missing",
        "`conda-lock` is needed for `--engine`, and is not installed",
        "pip install it",
    ),
    (
        errors.Unreachable(url="https://x", reason="gone", remedy="try later"),
        7,
        "unreachable",
        "cannot read `https://x`: gone",
        "try later",
    ),
    (
        errors.FileNotUsable(path="/p", reason="permission denied"),
        7,
        "file-not-usable",
        "cannot use `/p`: permission denied",
        None,
    ),
]


@pytest.mark.parametrize(("error", "exit_code", "code", "sentence", "hint"), CASES)
def test_each_error(
    error: EnvforgeError, exit_code: int, code: str, sentence: str, hint: str | None
) -> None:
    assert (error.exit_code, error.code) == (exit_code, code)
    assert str(error) == sentence
    assert error.hint == hint


def _kinds(root: type[EnvforgeError]) -> Iterator[type[EnvforgeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _kinds(child)


def _ours() -> list[type[EnvforgeError]]:
    """Those of the tree: tests and plug-ins may have made more."""
    return [kind for kind in _kinds(EnvforgeError) if kind.__module__ == errors.__name__]


def test_none_is_left_out() -> None:
    """A family is never raised itself."""
    families = {kind.__bases__[0] for kind in _ours()} | {EnvforgeError}
    tested = {type(error) for error, *_ in CASES}

    assert [kind for kind in _ours() if kind not in tested | families] == []


def test_codes_are_stable_names_that_differ() -> None:
    codes = [kind.code for kind in _ours()]

    assert len(set(codes)) == len(codes)
    assert all(code == code.lower() and " " not in code for code in codes)


def test_a_family_shares_its_exit_code() -> None:
    for kind in _ours():
        for base in kind.__mro__[1:]:
            if base in {EnvforgeError, Exception, BaseException, object}:
                break
            assert kind.exit_code == base.exit_code  # type: ignore[attr-defined]


@pytest.mark.parametrize(("error", "sentence"), [(case[0], case[3]) for case in CASES])
def test_sentences_follow_the_house_style(error: EnvforgeError, sentence: str) -> None:
    """Lower case but for names, no full stop."""
    assert not sentence.endswith(".")
    assert not (error.hint or "").endswith(".")
    assert sentence[0] == "`" or sentence[0].islower()


def test_only_the_end_of_a_long_output_is_shown() -> None:
    output = "\n".join(f"line {number}" for number in range(40))
    shown = str(errors.ToolFailed(command=("uv",), status=1, output=output)).splitlines()

    assert shown[0] == "`uv` failed (1):"
    assert shown[1:] == [f"  line {number}" for number in range(28, 40)]


def test_an_error_without_fields_has_no_hint() -> None:
    assert EnvforgeError("x").hint is None


def test_equal_facts_are_still_two_errors() -> None:
    """`contextlib` sets `__traceback__` on them, and sets hold them."""
    first, second = (errors.Unreachable(url="a", reason="b") for _ in range(2))

    assert first != second
    assert len({first, second}) == 2


def test_what_stood_in_a_file_is_told_without_credentials() -> None:
    said = "`https://user:secret@host/t/secret/c/linux-64/x` is no address"
    plain = "`https://<secret>@host/t/<secret>/c/linux-64/x` is no address"

    assert InvalidFile(path="x", mistakes=(said,)).mistakes == (plain,)
    assert "<secret>@host/t/<secret>/c" in str(InvalidValue(what="a", value=said, reason=said))
    assert "user:" not in str(InvalidValue(what="a", value=said, reason=said))
    assert InvalidFile(path="x", mistakes=("`/home/t/x`: a@b",)).mistakes == ("`/home/t/x`: a@b",)
