"""What depends on user and machine: one script says it, and all shells and programs agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envforge.adapters.activation import activation_files as files
from envforge.adapters.activation.activation_scripts import (
    MACHINE_NAMES,
    MACHINE_SCRIPT,
    activate,
    compiled_place,
    machine_variables,
    read_activation,
    run_environment,
)
from envforge.adapters.users import folder_of
from envforge.forge.caching import activating
from envforge.formats.activation import Shell, quote_posix
from envforge.model.activation import Choices

NAME = 'it\'s $(id) `x` "a" ; % {{ b }}'
PRINT = "import json, os; print(json.dumps(dict(os.environ)))"
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-euc"],
    "dash": ["dash", "-euc"],
    "zsh": ["zsh", "-f", "-euc"],
    "fish": ["fish", "--no-config", "-c"],
}
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH", "CUDA_CACHE_MAXSIZE")


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest) -> str:
    if shutil.which(SHELLS[request.param][0]) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return write(tmp_path / "it's a $(prefix)", views=str(tmp_path / "views"))


def write(prefix: Path, *, views: str = "/none", threads: str = "auto", flat: str = "no") -> Path:
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    scripts = files.script_files(name=NAME, views=views, threads=threads, flat=flat)
    files.write(files.Writing(prefix=prefix, choices=Choices(), variables={}, files=scripts))
    return prefix


@pytest.fixture
def base(tmp_path: Path) -> dict[str, str]:
    """A user, and a machine without limits or GPUs."""
    home, root = tmp_path / "ho'me", tmp_path / "root"
    home.mkdir()
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text("processor : 0\nflags\t\t: fpu sse4_2 avx2 fma\n")
    return {"HOME": str(home), "PATH": os.environ["PATH"], "ENVFORGE_HOST_ROOT": f"{root}/"}


def place(root: Path, files_: Mapping[str, str]) -> None:
    for name, text in files_.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def in_shell(
    shell: str, prefix: Path, base: Mapping[str, str], *, leave: bool = False
) -> dict[str, str]:
    """The variables after conda's hooks have run, as conda sources them."""
    suffix = "fish" if shell == "fish" else "sh"
    hooks = [prefix / "etc/conda/activate.d" / f"envforge.{suffix}"]
    if leave:
        hooks.append(prefix / "etc/conda/deactivate.d" / f"envforge.{suffix}")
    word = "source" if shell == "fish" else "."
    code = "; ".join(f'{word} "$HOOK{at}"' for at in range(len(hooks)))
    given = {f"HOOK{at}": str(path) for at, path in enumerate(hooks)}
    done = subprocess.run(
        [*SHELLS[shell], f"{code}; '{sys.executable}' -I -c '{PRINT}'"],
        env={**base, **given, "CONDA_PREFIX": str(prefix)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    found: dict[str, str] = json.loads(done.stdout)
    return found


def ours(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: variables[name] for name in MACHINE_NAMES if name in variables}


def test_shells_and_programs_agree(
    shell: str, prefix: Path, base: dict[str, str], tmp_path: Path
) -> None:
    view = tmp_path / "views" / "env" / folder_of(os.geteuid()) / NAME
    view.mkdir(parents=True)
    told = ours(machine_variables(prefix, base))

    assert ours(in_shell(shell, prefix, base)) == told
    folder = f"{base['HOME']}/.cache/envforge/compile/{NAME}/x86-64-v3"
    assert told == {
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "CUDA_CACHE_PATH": f"{folder}/cuda",
        "CUDA_CACHE_MAXSIZE": "2147483648",
        "HF_HUB_CACHE": str(view),
        "HUGGINGFACE_HUB_CACHE": str(view),
        "TRANSFORMERS_CACHE": str(view),
    }
    assert Path(folder).stat().st_mode & 0o777 == 0o700


def test_leaving_restores_what_was(
    shell: str, prefix: Path, base: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "views" / "env" / folder_of(os.geteuid()) / NAME).mkdir(parents=True)
    before = {**base, "HF_HUB_CACHE": "/my 'own'", "CUDA_CACHE_PATH": "/mine"}
    after = in_shell(shell, prefix, before, leave=True)

    assert ours(after) == {"HF_HUB_CACHE": "/my 'own'", "CUDA_CACHE_PATH": "/mine"}
    assert [name for name in after if "ENVFORGE" in name.upper()] == ["ENVFORGE_HOST_ROOT"]


def test_what_the_user_set_counts(shell: str, prefix: Path, base: dict[str, str]) -> None:
    mine = {"TRITON_CACHE_DIR": "/mine", "CUDA_CACHE_PATH": "/mine too"}
    found = ours(in_shell(shell, prefix, {**base, **mine}))

    assert {name: found[name] for name in mine} == mine
    assert "CUDA_CACHE_MAXSIZE" not in found


def test_another_environment_takes_over(prefix: Path, base: dict[str, str], tmp_path: Path) -> None:
    """As from `run` within an activated shell: what is ours is not taken for the user's."""
    first = machine_variables(prefix, base)
    assert ours(machine_variables(prefix, {**base, **first})) == ours(first)
    other = write(tmp_path / "other")
    text = (other / MACHINE_SCRIPT).read_text()
    (other / MACHINE_SCRIPT).write_text(text.replace("name='", "name='other-", 1))
    second = machine_variables(other, {**base, **first})

    assert "/other-it" in second["TRITON_CACHE_DIR"]
    changed = {**base, **first, "TRITON_CACHE_DIR": "/by hand"}
    assert "TRITON_CACHE_DIR" not in ours(machine_variables(other, changed))


DECLARED: dict[str, dict[str, str]] = {
    "nothing": {},
    "threads": {"OMP_NUM_THREADS": "3"},
    "a view": {"HF_HUB_CACHE": "/declared"},
    "the driver's cache": {"CUDA_CACHE_PATH": "/declared"},
    "an empty value": {"TRITON_CACHE_DIR": ""},
    "another cache": {"ENVFORGE_CACHE": "caches"},
    "all users' caches": {"XDG_CACHE_HOME": "caches"},
    "another home": {"HOME": "caches"},
    "other views": {"ENVFORGE_VIEWS": "/none"},
}


def by_conda(prefix: Path, user: Mapping[str, str]) -> dict[str, str]:
    """By conda's own rules: packages' variables, those of its state, then scripts, by name."""
    declared: dict[str, str] = {}
    for path in sorted((prefix / "etc/conda/env_vars.d").iterdir()):
        declared |= json.loads(path.read_text())
    declared |= json.loads((prefix / "conda-meta/state").read_text())["env_vars"]
    scripts = sorted((prefix / "etc/conda/activate.d").glob("*.sh"))
    return printed('for script; do . "$script"; done', {**user, **declared}, prefix, scripts)


def printed(
    code: str, user: Mapping[str, str], prefix: Path, scripts: Sequence[Path] = ()
) -> dict[str, str]:
    done = subprocess.run(
        [*SHELLS["bash"], f"{code}\n'{sys.executable}' -I -c '{PRINT}'", "bash", *scripts],
        env={**user, "CONDA_PREFIX": str(prefix)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("who", ["state", "package", "script", "user"])
@pytest.mark.parametrize("what", DECLARED)
def test_conda_run_and_activate_agree(
    prefix: Path, base: dict[str, str], tmp_path: Path, what: str, who: str
) -> None:
    """Whoever set what the script goes by."""
    (tmp_path / "views/env" / folder_of(os.geteuid()) / NAME).mkdir(parents=True)
    place(Path(base["ENVFORGE_HOST_ROOT"]), LIMITS["version 1"])
    values = {
        key: str(tmp_path / value) if value == "caches" else value
        for key, value in DECLARED[what].items()
    }
    code = "".join(f"export {key}={quote_posix(value)}\n" for key, value in values.items())
    state = json.dumps({"env_vars": values if who == "state" else {}})
    place(
        prefix,
        {
            "conda-meta/state": state,
            "etc/conda/env_vars.d/a.json": json.dumps(values if who == "package" else {}),
            "etc/conda/activate.d/a.sh": code if who == "script" else "",
        },
    )
    user = {**base, **values} if who == "user" else base
    expected = ours(by_conda(prefix, user))

    assert ours(run_environment(prefix, user, with_machine=True)) == expected
    assert ours(printed(activate(prefix, "bash"), user, prefix)) == expected


def test_a_second_activation_asks_once_the_first_is_left(
    shell: str, prefix: Path, base: dict[str, str], tmp_path: Path
) -> None:
    """What the first environment declares is not taken for the user's; leaving restores all."""
    (tmp_path / "views/env" / folder_of(os.geteuid()) / NAME).mkdir(parents=True)
    place(Path(base["ENVFORGE_HOST_ROOT"]), LIMITS["version 1"])
    other = write(tmp_path / "other")
    state = {"env_vars": {"OMP_NUM_THREADS": "5", "CUDA_CACHE_PATH": "/declared"}}
    (other / "conda-meta/state").write_text(json.dumps(state))
    user = {**base, "HF_HUB_CACHE": "/mine", "CONDA_PREFIX": "/base"}
    kind: Shell = "fish" if shell == "fish" else "bash"
    show = f"'{sys.executable}' -I -c '{PRINT}'"
    code = "\n".join(
        [activate(other, kind), activate(prefix, kind), show, "deactivate_envforge", show]
    )
    done = subprocess.run(
        [*SHELLS[shell], code], env=user, capture_output=True, text=True, timeout=60, check=True
    )
    within, after = map(json.loads, done.stdout.splitlines())

    assert done.stderr == ""
    assert ours(within) == ours(run_environment(prefix, user, with_machine=True))
    assert ours(after) == {"HF_HUB_CACHE": "/mine"}
    assert [name for name in after if "ENVFORGE" in name.upper()] == ["ENVFORGE_HOST_ROOT"]


@pytest.mark.parametrize("home", ["", "/proc/none", "relative"])
def test_without_a_home_nothing_is_kept(prefix: Path, base: dict[str, str], home: str) -> None:
    assert ours(machine_variables(prefix, {**base, "HOME": home})) == {}


def test_other_places(prefix: Path, base: dict[str, str], tmp_path: Path) -> None:
    for name, folder in (("XDG_CACHE_HOME", "envforge/compile"), ("ENVFORGE_CACHE", "compile")):
        found = compiled_place(prefix, {**base, name: str(tmp_path / "c")})
        assert found == (f"{tmp_path}/c/{folder}/{NAME}/x86-64-v3", "x86-64-v3")


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        ("flags : avx512f avx512vl avx2", "x86-64-v4"),
        ("flags : avx512f avx2", "x86-64-v3"),
        ("flags : sse4_2", "x86-64-v2"),
        ("Features : fp asimd sve", "aarch64-sve"),
        ("flags : nothing", os.uname().machine),
    ],
)
def test_the_processor_has_a_name(
    prefix: Path, base: dict[str, str], flags: str, level: str
) -> None:
    place(Path(base["ENVFORGE_HOST_ROOT"]), {"proc/cpuinfo": f"model name : x\n{flags}\n"})
    assert compiled_place(prefix, base)[1] == level


def test_gpus_have_names_each_once(prefix: Path, base: dict[str, str]) -> None:
    gpus = {"0": "NVIDIA H200", "1": "NVIDIA A100-SXM4-80GB", "2": "NVIDIA H200"}
    texts = {
        f"proc/driver/nvidia/gpus/0000:0{at}:00.0/information": f"Model: \t\t {name}\nIRQ: 1\n"
        for at, name in gpus.items()
    }
    place(Path(base["ENVFORGE_HOST_ROOT"]), texts)

    assert compiled_place(prefix, base)[1] == "x86-64-v3+nvidia-a100-sxm4-80gb+nvidia-h200"


LIMITS = {
    "version 2": {
        "proc/self/cgroup": "0::/job/step\n",
        "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
        "sys/fs/cgroup/job/cpu.max": "50000 100000\n",
    },
    "version 2, in a container": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "100000 100000\n",
    },
    "version 1": {
        "proc/self/cgroup": "5:cpuset:/other\n4:cpu,cpuacct:/docker/x\n",
        "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "90000\n",
        "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
    },
}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor can not be fewer")
@pytest.mark.parametrize("limit", LIMITS)
def test_threads_are_no_more_than_the_control_group_grants(
    prefix: Path, base: dict[str, str], limit: str
) -> None:
    place(Path(base["ENVFORGE_HOST_ROOT"]), LIMITS[limit])
    found = ours(machine_variables(prefix, base))

    assert found["OMP_NUM_THREADS"] == found["TORCHINDUCTOR_COMPILE_THREADS"] == "1"
    mine = ours(machine_variables(prefix, {**base, "OMP_NUM_THREADS": "7"}))
    assert "OMP_NUM_THREADS" not in mine
    assert "OMP_NUM_THREADS" not in machine_variables(write(prefix, threads="off"), base)


@pytest.mark.parametrize("quota", ["max 100000", "9999900000 100000", "-1 100000", "x", "", "1 0"])
def test_no_limit_sets_nothing(prefix: Path, base: dict[str, str], quota: str) -> None:
    place(
        Path(base["ENVFORGE_HOST_ROOT"]),
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": f"{quota}\n"},
    )
    assert set(ours(machine_variables(prefix, base))) == set(CACHES)


def test_a_view_is_found_as_by_our_own_commands(base: dict[str, str], tmp_path: Path) -> None:
    """The script and `activating.variables` tell the same, flat views included."""
    view = tmp_path / "views" / "env" / folder_of(os.geteuid()) / NAME
    flat = activating.flat_beside(view)
    view.mkdir(parents=True)
    flat.mkdir()
    for transformers, kind in (("4.57.0", "no"), ("4.18.0", "first"), ("5.0.0", "never")):
        prefix = write(tmp_path / transformers, views=str(tmp_path / "views"), flat=kind)
        info = prefix / f"lib/python3.10/site-packages/transformers-{transformers}.dist-info"
        info.mkdir(parents=True)
        from envforge.cache import view_variables

        expected = view_variables.variables(
            str(view), flat=str(flat), transformers=activating.installed_transformers(prefix)
        )
        told = ours(machine_variables(prefix, base))
        assert {key: value for key, value in told.items() if key not in CACHES} == expected


def test_what_is_shared_is_linked_once_and_never_written(
    prefix: Path, base: dict[str, str]
) -> None:
    seed = prefix / "etc/envforge/compiled/x86-64-v3"
    place(seed, {"inductor/ab/c.so": "shared", "triton/H/k.cubin": "1", ".stamp": "one\n"})
    own, _ = compiled_place(prefix, base)
    place(Path(own), {"triton/H/own.json": "{}"})
    machine_variables(prefix, base)

    assert (Path(own) / "inductor/ab/c.so").read_text() == "shared"
    assert (Path(own) / "inductor/ab/c.so").is_symlink()
    assert (Path(own) / "triton/H/own.json").read_text() == "{}"
    (Path(own) / "inductor/ab/c.so").unlink()
    machine_variables(prefix, base)
    assert not os.path.lexists(Path(own) / "inductor/ab/c.so")  # the stamp is known
    place(seed, {"inductor/ab/d.so": "more", ".stamp": "two\n"})
    machine_variables(prefix, base)
    assert (Path(own) / "inductor/ab/d.so").read_text() == "more"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("level", range(4))
def test_compiled_code_of_somebody_else_is_not_run(
    prefix: Path, base: dict[str, str], level: int
) -> None:
    """Where users share ENVFORGE_CACHE, or HOME is another's after `sudo`, anybody may be first."""
    own = Path(compiled_place(prefix, base)[0])
    for folder in (own / "inductor", own / "triton", own / "cuda"):
        folder.mkdir(parents=True)
    assert set(ours(machine_variables(prefix, base))) == set(CACHES)
    os.chown((own / "triton", own, own.parent, own.parent.parent)[level], 64210, 64210)
    assert ours(machine_variables(prefix, base)) == {}


def test_packages_scripts_do_not_name_ours(prefix: Path) -> None:
    """`run` and `activate` ask the script by themselves."""
    assert read_activation(prefix, "bash").scripts == ()
    assert read_activation(prefix, "fish").undo_scripts == ()


def test_a_script_that_fails_sets_nothing(prefix: Path, base: dict[str, str]) -> None:
    (prefix / MACHINE_SCRIPT).write_text("exit 3\n")
    assert machine_variables(prefix, base) == {}
    (prefix / MACHINE_SCRIPT).unlink()
    assert machine_variables(prefix, base) == {}
    assert compiled_place(prefix, base) == ("", "")


TEXT = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x2FF, exclude_characters="/"),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in {".", ".."})


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=TEXT, home=TEXT)
def test_no_name_means_anything_else(
    name: str, home: str, base: dict[str, str], tmp_path: Path
) -> None:
    """What bash evaluates is what programs are told; and that is what was asked for."""
    prefix = tmp_path / "p"
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    scripts = files.script_files(name=name, views="/none", threads="auto", flat="no")
    files.write(files.Writing(prefix=prefix, choices=Choices(), variables={}, files=scripts))
    given_base = {**base, "HOME": f"{base['HOME']}/{home}"}
    told = ours(machine_variables(prefix, given_base))

    assert told["TRITON_CACHE_DIR"] == (
        f"{given_base['HOME']}/.cache/envforge/compile/{name}/x86-64-v3/triton"
    )
    assert ours(in_shell("dash", prefix, given_base)) == told


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_scripts_pass_shellcheck(prefix: Path) -> None:
    scripts = [prefix / MACHINE_SCRIPT, *(prefix / "etc" / "conda").glob("*/*.sh")]
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-e", "SC2016", *map(str, scripts)],  # names are not expanded
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(scripts) == 3
    assert done.stdout == ""
