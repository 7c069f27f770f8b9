from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.installing import as_installed, conda_package, wheel

from envforge.errors import InvalidFile
from envforge.formats.conda import conda_meta
from envforge.formats.conda.conda_meta import RecordedFile
from envforge.model.prefix import InstallPlan, InstallRecord

RECORD = {
    "build": "h1_0",
    "depends": ["python >=3.8"],
    "files": ["bin/greet", "lib/python3.11/site-packages/greeter-1.2.dist-info/METADATA"],
    "name": "greeter",
    "noarch": "python",
    "paths_data": {
        "paths": [
            {"_path": "bin/greet", "path_type": "unix_python_entry_point", "size_in_bytes": 9},
            {"_path": "share/plain", "path_type": "hardlink", "size_in_bytes": 4},
            {
                "_path": "share/rewritten",
                "path_type": "hardlink",
                "prefix_placeholder": "/opt/x",
                "size_in_bytes": 8,
            },
            {"_path": "share/link", "path_type": "softlink", "size_in_bytes": 4},
        ],
        "paths_version": 1,
    },
    "sha256": "a" * 64,
    "url": "https://conda.anaconda.org/conda-forge/noarch/greeter-1.2-h1_0.conda",
    "version": "1.2",
}


def as_bytes(record: object, indent: int | None = 2) -> bytes:
    return json.dumps(record, indent=indent).encode()


@pytest.mark.parametrize("indent", [2, 4, None])
def test_a_record_is_read_however_it_is_indented(indent: int | None) -> None:
    """conda and rattler indent by two, mamba by four."""
    package = conda_meta.read_record(as_bytes(RECORD, indent), "greeter.json")

    assert (package.name, package.version, package.build) == ("greeter", "1.2", "h1_0")
    assert package.sha256 == "a" * 64
    assert package.url.endswith("greeter-1.2-h1_0.conda")
    assert package.manager == "conda"


def test_a_nested_field_is_not_mistaken_for_the_records_own() -> None:
    record = {**RECORD, "paths_data": {"paths": [{"_path": "x", "sha256": "b" * 64}]}}
    del record["sha256"]
    assert conda_meta.read_record(as_bytes(record), "x.json").sha256 == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (as_bytes(RECORD)[:200], "no JSON"),
        (b"", "no JSON"),
        (b"[]", "no package record"),
        (as_bytes({"name": "x"}), "no version and no build"),
    ],
)
def test_a_broken_record_is_named(data: bytes, said: str) -> None:
    with pytest.raises(InvalidFile, match=said) as caught:
        conda_meta.read_record(data, "conda-meta/x.json")
    assert caught.value.path == "conda-meta/x.json"
    assert caught.value.hint


def test_files_have_the_size_they_should_have_where_that_is_known() -> None:
    assert conda_meta.read_files(as_bytes(RECORD), "x") == (
        RecordedFile(path="bin/greet", size=None),
        RecordedFile(path="share/plain", size=4),
        RecordedFile(path="share/rewritten", size=None),
        RecordedFile(path="share/link", size=None),
    )


def test_an_old_record_without_path_data_has_files_all_the_same() -> None:
    old = {"files": ["a", "b"]}
    assert [item.path for item in conda_meta.read_files(as_bytes(old), "x")] == ["a", "b"]


def test_noarch_python_is_told_from_others() -> None:
    assert conda_meta.is_noarch_python(as_bytes(RECORD))
    assert not conda_meta.is_noarch_python(as_bytes({**RECORD, "noarch": "generic"}))
    assert not conda_meta.is_noarch_python(as_bytes({"name": "x"}))


def test_site_packages_are_where_python_says() -> None:
    free = {**RECORD, "python_site_packages_path": "lib/python3.13t/site-packages"}
    assert conda_meta.site_packages_path(as_bytes(free)) == "lib/python3.13t/site-packages"
    assert conda_meta.site_packages_path(as_bytes(RECORD)) is None


MARKER = InstallRecord(
    digest="d" * 64,
    complete=True,
    environment="demo",
    variables=("A", "B"),
    wheels={"torch": "e" * 64},
)


def test_the_marker_survives_the_round_trip() -> None:
    text = conda_meta.render_marker(MARKER)
    assert conda_meta.parse_marker(text) == MARKER
    assert conda_meta.render_marker(conda_meta.parse_marker(text)) == text


def test_the_marker_is_no_json_file() -> None:
    """conda takes every `*.json` in conda-meta for a package, and fails on ours."""
    assert not conda_meta.MARKER.endswith(".json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        conda_meta.render_marker(MARKER)[:60],
        conda_meta.render_marker(MARKER).replace('"version": 1', '"version": 2'),
        conda_meta.render_marker(MARKER).replace('"complete"', '"incomplete"'),
    ],
)
def test_a_marker_that_cannot_be_read_is_an_install_that_did_not_end(text: str) -> None:
    assert conda_meta.parse_marker(text).complete is False


def test_state_keeps_what_the_user_set() -> None:
    """Ours come, ours of an earlier lock go, everybody else's stay."""
    before = '{"env_vars": {"MINE": "1", "OLD": "2", "KEPT": "3"}, "other": true}'
    after = json.loads(conda_meta.merge_state(before, {"NEW": "4"}, ["OLD"], "state"))
    assert after == {"env_vars": {"KEPT": "3", "MINE": "1", "NEW": "4"}, "other": True}


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_state_is_made_where_there_is_none(text: str | None) -> None:
    assert json.loads(conda_meta.merge_state(text, {"A": "1"}, [], "state")) == {
        "env_vars": {"A": "1"}
    }


def test_a_state_that_is_no_json_is_not_overwritten() -> None:
    with pytest.raises(InvalidFile, match="no JSON"):
        conda_meta.merge_state("{", {"A": "1"}, [], "state")


def test_variables_are_read_as_conda_reads_them() -> None:
    text = '{"env_vars": {"A": "1", "N": 2, "GONE": "***unset***"}}'
    assert conda_meta.state_variables(text) == {"A": "1", "N": "2"}
    assert conda_meta.package_variables('{"B": "3"}') == {"B": "3"}
    for broken in (None, "{", "[]", '{"env_vars": []}'):
        assert conda_meta.state_variables(broken) == {}
    assert conda_meta.package_variables("[]") == {}


OLD, NEW = conda_package("numpy", "1.0"), conda_package("numpy", "2.0")


def test_the_first_revision_has_no_signs() -> None:
    """conda tells a full list from a difference by that."""
    plan = InstallPlan(prefix=Path("/p"), add=(NEW, conda_package("python"), wheel("torch")))
    text = conda_meta.history_entry(
        plan, when="2026-01-02 03:04:05", requested=["python=3.11"], first=True
    )
    assert text == (
        "==> 2026-01-02 03:04:05 <==\n"
        "# cmd: envforge install\n"
        "conda-forge/linux-64::numpy-2.0-0\n"
        "conda-forge/linux-64::python-1.0-0\n"
        '# update specs: ["python=3.11"]\n'
    )


def test_later_revisions_are_differences() -> None:
    plan = InstallPlan(
        prefix=Path("/p"),
        change=((as_installed(OLD), NEW),),
        remove=(as_installed(conda_package("stray")), as_installed(wheel("torch"))),
    )
    text = conda_meta.history_entry(plan, when="now", requested=[], first=False)
    assert text.splitlines()[2:] == [
        "-conda-forge/linux-64::numpy-1.0-0",
        "-conda-forge/linux-64::stray-1.0-0",
        "+conda-forge/linux-64::numpy-2.0-0",
    ]


def test_a_package_without_address_is_named_all_the_same() -> None:
    from dataclasses import replace

    gone = replace(as_installed(OLD), url="")
    plan = InstallPlan(prefix=Path("/p"), remove=(gone,))
    assert "-numpy-1.0-0\n" in conda_meta.history_entry(plan, when="now", requested=[], first=False)


def test_dependencies_get_back_what_a_lock_writer_dropped() -> None:
    built = ["python_abi 3.10.* *_cp310", "mkl >=2018", "libfoo 1.0 h1"]
    locked = ["python_abi 3.10.*", "mkl >=2018,<2024", "libfoo 1.0 h1", "bare"]
    assert conda_meta.fuller_depends(locked, built) == [
        "python_abi 3.10.* *_cp310",
        "mkl >=2018,<2024",  # the channel mended this after the build: it counts
        "libfoo 1.0 h1",
        "bare",
    ]
