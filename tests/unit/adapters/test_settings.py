"""Settings: where each value comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.adapters.settings import load_settings
from envforge.errors import InvalidFile, InvalidValue


def settings(cwd: Path, overrides: dict[str, object] | None = None, **environ: str):
    return load_settings({"HOME": str(cwd / "home"), **environ}, cwd, overrides)


def test_defaults_are_where_conda_looks(tmp_path: Path) -> None:
    found = settings(tmp_path)

    assert found.envs_folder == tmp_path / "envs"
    assert found.prefixes == tmp_path / "home" / ".conda" / "envs"
    assert found.package_cache == tmp_path / "home" / ".cache" / "envforge" / "pkgs"
    assert found.wheel_index == "auto"
    assert not found.offline


def test_command_line_beats_environment_beats_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.envforge]\nenvs = "from-file"\nmirror = "m"\n')

    by_file = settings(tmp_path)
    by_variable = settings(tmp_path, ENVFORGE_ENVS="from-variable")
    by_option = settings(tmp_path, {"envs": Path("given")}, ENVFORGE_ENVS="from-variable")

    assert by_file.envs_folder == tmp_path / "from-file"
    assert by_file.mirror == str(tmp_path / "m")
    assert by_variable.envs_folder == tmp_path / "from-variable"
    assert by_option.envs_folder == tmp_path / "given"


def test_pyproject_is_found_from_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.envforge]\nenvs = "shared-envs"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    assert settings(below).envs_folder == tmp_path / "shared-envs"


def test_paths_in_a_file_are_relative_to_it_or_to_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    text = '[tool.envforge]\nmirror = "channels"\ncache = "~/cache"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    below = tmp_path / "a"
    below.mkdir()

    assert settings(below).mirror == str(tmp_path / "channels")
    assert settings(below).cache == tmp_path / "me" / "cache"
    text = text.replace("channels", "https://host/x")
    (tmp_path / "pyproject.toml").write_text(text)
    assert settings(below).mirror == "https://host/x"


@pytest.mark.parametrize(
    "text", ['[tool]\nenvforge = { envs = "e" }\n', '[tool]\nenvforge.envs = "e"\n']
)
def test_a_table_may_be_written_in_any_way(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert settings(tmp_path).envs_folder == tmp_path / "e"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.envforge]\nenvs = 3\n", "tool.envforge.envs: must be text"),
        ("[tool.envforge]\nmirror = true\n", "tool.envforge.mirror: must be text"),
        ("[[tool.envforge]]\nenvs = 'x'\n", "tool.envforge: must be a table"),
    ],
)
def test_a_setting_of_another_kind_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidFile, match=said):
        settings(tmp_path)


def test_a_user_who_does_not_exist_has_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="not known here"):
        settings(tmp_path, {"envs": "~nobody-of-this-name/envs"})


@pytest.mark.parametrize("text", ["0", "inf", "nan", "soon"])
def test_a_timeout_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidValue, match="no number of seconds"):
        settings(tmp_path, ENVFORGE_TIMEOUT=text)


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.envforge]\nmiror = "m"\nzzz = 1\n')

    with pytest.raises(InvalidFile) as caught:
        settings(tmp_path)

    assert "did you mean `mirror`?" in str(caught.value)
    assert "tool.envforge.zzz" in str(caught.value)


def test_broken_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.envforge]\nenvs = "unclosed\n')

    with pytest.raises(InvalidFile, match=r"pyproject\.toml"):
        settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "meant"), [("1", True), ("yes", True), ("0", False), ("off", False)]
)
def test_flags(tmp_path: Path, text: str, meant: bool) -> None:
    assert settings(tmp_path, ENVFORGE_OFFLINE=text).offline is meant


def test_a_flag_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="neither true nor false"):
        settings(tmp_path, ENVFORGE_OFFLINE="perhaps")


def test_conda_folders_are_used_when_writable(tmp_path: Path) -> None:
    rc = tmp_path / "home" / ".condarc"
    rc.parent.mkdir()
    (tmp_path / "file").write_text("no folder can be made here")
    rc.write_text(f"envs_dirs: [{tmp_path}/file/none, {tmp_path}/e]\npkgs_dirs: [{tmp_path}/p]\n")

    found = settings(tmp_path)

    assert found.prefixes == tmp_path / "e"
    assert found.package_cache == tmp_path / "p"


def test_condarc_files_are_merged_as_conda_does(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".conda").mkdir(parents=True)
    (home / ".conda" / "condarc").write_text(
        "channels: [a, b]\ncustom_channels: {x: https://one}\nssl_verify: /etc/site.pem\n"
    )
    (home / ".condarc").write_text("channels: [c, a]\ncustom_channels: {y: https://two/}\n")

    conda = settings(tmp_path).conda

    assert conda.channels == ("c", "a", "b")
    assert conda.custom_channels == {"x": "https://one", "y": "https://two"}
    assert conda.ssl_verify == "/etc/site.pem"


def test_conda_variables_win(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        CONDA_PKGS_DIRS=str(tmp_path / "v"),
        CONDA_CHANNEL_ALIAS="https://alias/",
        CONDA_SSL_VERIFY="false",
        CONDA_OFFLINE="true",
    )

    assert found.package_cache == tmp_path / "v"
    assert found.conda.channel_alias == "https://alias"
    assert found.conda.ssl_verify is False
    assert found.offline


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("channels: x", "channels: must be a list"),
        ("mirrored_channels: {a: 'https://m'}", "mirrored_channels.a: must be a list"),
        ("- a", "mapping"),
        ("a: [", "line 1, column 5: expected the node content"),
    ],
)
def test_a_broken_condarc_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "special.yml"
    path.write_text(text)

    with pytest.raises(InvalidFile, match=said):
        settings(tmp_path, CONDARC=str(path))


def test_condarc_d_parts_are_read_in_order(tmp_path: Path) -> None:
    parts = tmp_path / "root" / "condarc.d"
    parts.mkdir(parents=True)
    (parts / "1.yml").write_text("channel_alias: https://first\n")
    (parts / "2.yaml").write_text("channel_alias: https://second\n")
    (parts / "ignored.txt").write_text("channel_alias: https://third\n")

    assert settings(tmp_path, CONDA_ROOT=str(tmp_path / "root")).conda.channel_alias == (
        "https://second"
    )
