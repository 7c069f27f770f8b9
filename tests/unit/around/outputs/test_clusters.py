"""Outputs for Slurm, Lmod, Jupyter and systemd: their rules, and names that mean nothing more."""

from __future__ import annotations

import json
import re
import shlex
import string

import pytest
from fakes.outputs import subject_for, written
from hypothesis import given, settings
from hypothesis import strategies as st

from envforge.around.outputs import clusters
from envforge.errors import InvalidValue

NASTY = st.text(
    st.one_of(st.sampled_from("'\"\\$`(){}[]%;|&<>!#:-=,~*? é😀"), st.characters()), max_size=20
)
PREFIXES = NASTY.map(lambda text: f"/srv/{text}")
VARIABLES = st.dictionaries(st.sampled_from(["A", "B_2", "PATHS"]), NASTY, max_size=3)
PLAIN = "/srv/envs/x"


def carried(name: str, prefix: str, variables: dict[str, str]) -> dict[str, str] | None:
    """The texts of an output; None: refused, on one line."""
    try:
        found = written(name, {"prefix": prefix}, subject_for(variables=variables))
    except InvalidValue as error:
        if re.search(r"[\x00-\x1f\x7f]", str(error)):
            pytest.fail(f"a message of several lines: {error!r}")
        return None
    return {item: file.text for item, file in found.items()}


@given(PREFIXES, VARIABLES)
@settings(deadline=None, max_examples=60)
def test_a_kernel_gets_what_was_meant(prefix: str, variables: dict[str, str]) -> None:
    found = carried("jupyter", prefix, variables)
    if found is None:
        return
    kernel = json.loads(found["kernel.json"])
    assert kernel["argv"][0] == f"{prefix}/bin/python"
    given_ = {
        name: string.Template(value).safe_substitute({"PATH": "/usr/bin", "HOME": "/home/x"})
        for name, value in kernel["env"].items()
    }
    assert given_["CONDA_PREFIX"] == prefix
    assert given_["PATH"] == f"{prefix}/bin:/usr/bin"
    assert variables.items() <= given_.items()


@pytest.mark.parametrize("prefix", ["/srv/{connection_file}/x", "/srv/{prefix}", "/{resource_dir}"])
def test_what_jupyter_replaces_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidValue, match="what a kernel's file replaces"):
        written("jupyter", {"prefix": prefix})


@given(PREFIXES, VARIABLES)
@settings(deadline=None, max_examples=60)
def test_a_unit_gets_what_was_meant(prefix: str, variables: dict[str, str]) -> None:
    found = carried("systemd", prefix, variables)
    if found is None:
        return
    lines = found["x-torch27-cu126@.service"].splitlines()
    [command] = [line.partition("=")[2] for line in lines if line.startswith("ExecStart=")]
    words = [unit_word(item) for item in split_unit(command)]
    assert [word.replace("$$", "$") for word in words[:2]] == [
        "/usr/bin/env",
        f"{prefix}/bin/python",
    ]
    assert words[2:] == ["-m", "%i"]
    set_ = [unit_word(line[12:]) for line in lines if line.startswith("Environment=")]
    assert {f"{name}={value}" for name, value in variables.items()} <= set(set_)


def split_unit(line: str) -> list[str]:
    """Words of a command line, quotes kept."""
    words, inside, escaped, start = [], False, False, 0
    for place, char in enumerate(f"{line} "):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            inside = not inside
        elif char == " " and not inside:
            words.append(line[start:place])
            start = place + 1
    return words


def unit_word(word: str) -> str:
    """What systemd makes of a word (systemd.syntax(7)), but for `$`."""
    if not word.startswith('"'):
        return word
    assert word.endswith('"')
    plain = word[1:-1].replace("\\\\", "\0").replace('\\"', '"').replace("\0", "\\")
    assert "%" not in plain.replace("%%", "")
    return plain.replace("%%", "%")


@given(PREFIXES, VARIABLES)
@settings(deadline=None, max_examples=60)
def test_a_job_gets_what_was_meant(prefix: str, variables: dict[str, str]) -> None:
    found = carried("slurm", prefix, variables)
    if found is None:
        return
    words = shlex.split(found["x-torch27-cu126.sbatch"], comments=True)
    assert f"prefix={prefix}" in words
    assert {f"{name}={value}" for name, value in variables.items()} <= set(words)
    options = [line for line in found["x-torch27-cu126.sbatch"].splitlines() if "SBATCH" in line]
    assert all(line.startswith("#SBATCH --") and prefix not in line for line in options)


@pytest.mark.parametrize("value", ["60", "01:00:00", "30:00", "2-00", "1-12:30", "1-12:30:00"])
def test_times_of_slurm(value: str) -> None:
    text = written("slurm", {"time": value})["x-torch27-cu126.sbatch"].text
    assert f"#SBATCH --time={value}\n" in text


@pytest.mark.parametrize("value", ["", "1h", "1:2", "1:00 --uid=0", "-1", "\u0661"])
def test_what_is_no_time_of_slurm(value: str) -> None:
    with pytest.raises(InvalidValue, match="no time of Slurm's"):
        written("slurm", {"time": value}) if value else clusters._slurm(subject_for(), {"time": ""})


def test_a_cpu_build_asks_for_no_gpu_and_gets_none() -> None:
    cpu = subject_for(cuda="", min_driver="")
    job = written("slurm", {}, cpu)["x-torch27-cu126.sbatch"].text
    assert "gres" not in job
    assert "--level import >&2" in job
    with pytest.raises(InvalidValue, match="a CPU build, does not use"):
        written("slurm", {"gpus": "1"}, cpu)
    assert "--gres=gpu:4\n" in written("slurm", {"gpus": "4"})["x-torch27-cu126.sbatch"].text
    assert "gres" not in written("slurm", {"gpus": "0"})["x-torch27-cu126.sbatch"].text


@pytest.mark.parametrize(
    ("size", "mib"), [("16Gi", 16384), ("1G", 953), ("1", 1), ("1500Mi", 1500), ("2Ti", 2097152)]
)
def test_memory_is_told_in_slurm_s_unit(size: str, mib: int) -> None:
    text = written("slurm", {"memory": size})["x-torch27-cu126.sbatch"].text
    assert f"#SBATCH --mem={mib}M\n" in text


def test_no_cores_are_no_job() -> None:
    with pytest.raises(InvalidValue, match="less than one"):
        written("slurm", {"cpus": "0"})


def test_a_view_is_used_where_one_is_named() -> None:
    for name in ("slurm", "lmod", "jupyter", "systemd"):
        own = "".join(file.text for file in written(name, {"hub": "/srv/view"}).values())
        none = "".join(file.text for file in written(name).values())
        assert "HF_HUB_CACHE" in own, name
        assert "/srv/view" in own, name
        assert "HF_HUB_CACHE" not in none, name


def test_what_it_is_in_a_line() -> None:
    assert clusters.description(subject_for(python="3.11.9")) == (
        "x-torch27-cu126, PyTorch 2.7.1, CUDA 12.6, Python 3.11.9"
    )
    bare = subject_for(torch="", cuda="", python="", min_driver="", architectures=(), models=())
    assert clusters.description(bare) == "x-torch27-cu126"
    assert len(clusters.facts(bare)) == 2
