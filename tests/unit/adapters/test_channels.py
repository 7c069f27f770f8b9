"""Names become addresses as conda's settings say; what is written down holds no secret."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envforge.adapters.channels import folder_of, resolve_channels, routes
from envforge.errors import InvalidValue, Unreachable
from envforge.model.settings import CondaSettings, Settings
from envforge.model.solving import Channel, without_credentials

PUBLIC = "https://conda.anaconda.org"


def settings(mirror: str | None = None, **conda: Any) -> Settings:
    here = Path("/nowhere")
    return Settings(
        home=here,
        envs_folder=here,
        prefixes=here,
        package_cache=here,
        cache=here,
        store=here,
        views=here,
        mirror=mirror,
        conda=CondaSettings(**conda),
        environment={"TOKEN": "tk-1"},
    )


def one(name: str, mirror: str | None = None, **conda: Any) -> Channel:
    [channel] = resolve_channels([name], settings(mirror, **conda))
    return channel


def test_names_lie_under_the_alias() -> None:
    assert one("conda-forge") == Channel(name="conda-forge", url=f"{PUBLIC}/conda-forge")
    assert one("a/label/b").url == f"{PUBLIC}/a/label/b"
    assert one("pkgs/main").url == "https://repo.anaconda.com/pkgs/main"


def test_nodefaults_is_no_channel_and_none_comes_twice() -> None:
    found = resolve_channels(["a", "nodefaults", "a", "b"], settings())
    assert [channel.name for channel in found] == ["a", "b"]


def test_defaults_only_where_they_are_asked_for() -> None:
    found = resolve_channels(["defaults"], settings())
    assert [channel.url.rpartition(".com/")[2] for channel in found] == ["pkgs/main", "pkgs/r"]
    with pytest.raises(InvalidValue, match="rules it out"):
        resolve_channels(["defaults", "nodefaults"], settings())


def test_a_sites_own_server_serves_the_public_channels() -> None:
    """Two sites write the same lock: what they read from is no part of it."""
    site = {"channel_alias": "https://art.site/conda/"}
    assert one("pytorch", **site) == Channel(
        name="pytorch", url=f"{PUBLIC}/pytorch", mirror="https://art.site/conda/pytorch"
    )
    assert one("ours", **site) == Channel(name="ours", url="https://art.site/conda/ours")


def test_custom_channels_the_longest_name_counts() -> None:
    custom = {"a": "https://one", "a/label/b": "https://two/x/", "c": "local"}
    assert one("a", custom_channels=custom).url == "https://one/a"
    assert one("a/label/b", custom_channels=custom).url == "https://two/x/a/label/b"
    assert one("a/label/c", custom_channels=custom).url == "https://one/a/label/c"
    assert one("c", custom_channels=custom).url == f"{PUBLIC}/local/c"
    found = one("conda-forge", custom_channels={"conda-forge": "https://art.site"})
    assert (found.url, found.mirror) == (
        f"{PUBLIC}/conda-forge",
        "https://art.site/conda-forge",
    )


def test_mirrored_channels_are_read_in_their_order() -> None:
    mirrors = {"conda-forge": ("https://one/cf/", "https://two/cf")}
    found = one("conda-forge", mirrored_channels=mirrors)
    assert (found.mirror, found.more) == ("https://one/cf", ("https://two/cf",))
    public = {"conda-forge": (f"{PUBLIC}/conda-forge", "https://two/cf")}
    found = one("conda-forge", mirrored_channels=public)
    assert (found.mirror, found.more) == (f"{PUBLIC}/conda-forge", ("https://two/cf",))
    alone = {"conda-forge": (f"{PUBLIC}/conda-forge",)}
    assert one("conda-forge", mirrored_channels=alone).mirror is None


def test_a_locked_address_is_read_as_its_name_would_be() -> None:
    """An install knows addresses only; mirrors and credentials are found by them."""
    mirrors = {"ours": ("https://u:pw@one/ours", "https://two/t/tk-1/ours")}
    found = one("https://one/ours", mirrored_channels=mirrors)
    assert found.url == "https://one/ours"
    assert (found.mirror, found.more) == ("https://u:pw@one/ours", ("https://two/t/tk-1/ours",))
    assert one("https://a.site/x", channel_alias="https://u:pw@a.site").mirror == (
        "https://u:pw@a.site/x"
    )
    assert one("https://a.site/c/x", custom_channels={"x": "https://a.site/t/tk-1/c"}).mirror == (
        "https://a.site/t/tk-1/c/x"
    )
    assert one("https://b.site/x", channel_alias="https://u:pw@a.site").mirror is None


def test_a_lock_says_which_variable_opens_its_channel() -> None:
    given = replace(
        settings(), channels=("https://h/t/$TOKEN/ch",), environment={"TOKEN": "tk-secret"}
    )
    assert resolve_channels(["https://h/ch"], given)[0].mirror == "https://h/t/tk-secret/ch"
    unset = replace(given, environment={})
    assert resolve_channels(["https://h/ch"], unset)[0].mirror is None


def test_one_name_for_several_channels() -> None:
    conda = CondaSettings(
        custom_multichannels={"all": ("ours", "https://host/theirs")},
        default_channels=("https://site/pkgs/main",),
    )
    found = resolve_channels(["all", "ours", "defaults"], replace(settings(), conda=conda))
    assert [channel.url for channel in found] == [
        f"{PUBLIC}/ours",
        "https://host/theirs",
        "https://site/pkgs/main",
    ]


def test_routes_are_for_what_is_read_otherwise_than_it_is_written_down() -> None:
    plain = Channel(name="a", url="https://h/a")
    folder = Channel(name="b", url="https://h/b", mirror="/srv/b")
    mirror = Channel(name="c", url="https://h/c", mirror="https://m/c")
    token = Channel(name="d", url="https://h/d", mirror="https://m/t/tk/d")
    two = Channel(name="e", url="https://h/e", mirror="https://m/e", more=("https://n/e",))
    assert routes([plain, folder, mirror, token, two]) == {
        "https://m/d": ("https://m/t/tk/d",),
        "https://m/e": ("https://m/e", "https://n/e"),
    }


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("https://u:secret@host/ch", "https://host/ch"),
        ("https://host/t/tk-1/ch/", "https://host/ch"),
        ("https://host/t/$TOKEN/ch", "https://host/ch"),
        ("https://host/t/${TOKEN}/ch", "https://host/ch"),
    ],
)
def test_credentials_are_for_reading_only(given: str, canonical: str) -> None:
    """Variables in an address are filled in for reading."""
    found = one(given)
    assert (found.name, found.url) == (given if "$" in given else canonical, canonical)
    assert found.mirror == given.rstrip("/").replace("$TOKEN", "tk-1").replace("${TOKEN}", "tk-1")


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"\$NO_SUCH"):
        one("https://host/t/$NO_SUCH/ch")


def test_addresses() -> None:
    """A platform at the end is no part of the channel; conda drops it too."""
    assert one("https://host/ch/linux-64") == Channel(name="https://host/ch", url="https://host/ch")
    assert one(f"{PUBLIC}/pytorch/").url == f"{PUBLIC}/pytorch"


def test_a_public_address_is_mirrored_like_its_name(tmp_path: Path) -> None:
    (tmp_path / "pytorch").mkdir()
    found = one(f"{PUBLIC}/pytorch", mirror=str(tmp_path))
    assert found.mirror == str(tmp_path / "pytorch")
    assert one("https://host/ch", mirror=str(tmp_path)).mirror is None


def test_a_mirror_is_a_folder_or_an_address(tmp_path: Path) -> None:
    (tmp_path / "conda-forge").mkdir()
    folder = str(tmp_path / "conda-forge")
    assert one("conda-forge", mirror=str(tmp_path)) == Channel(
        name="conda-forge", url=f"{PUBLIC}/conda-forge", mirror=folder
    )
    assert one("conda-forge", mirror=tmp_path.as_uri()).mirror == folder
    assert one("pytorch", mirror="https://mirror/conda/").mirror == "https://mirror/conda/pytorch"


def test_a_mirror_keeps_the_defaults_under_either_name(tmp_path: Path) -> None:
    (tmp_path / "defaults").mkdir()
    assert one("pkgs/main", mirror=str(tmp_path)).mirror == str(tmp_path / "defaults")


def test_a_channel_that_a_mirror_lacks_is_told_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "conda-forge").mkdir()
    with pytest.raises(Unreachable, match=r"no channel `pytorch`; it holds conda-forge"):
        one("pytorch", mirror=str(tmp_path))
    with pytest.raises(Unreachable, match=r"no channel `pytorch`$"):
        one("pytorch", mirror=str(tmp_path / "absent"))


def test_folders(tmp_path: Path) -> None:
    """By path or by address; one that is not there is refused before anything is solved."""
    (tmp_path / "my channel").mkdir()
    uri = (tmp_path / "my channel").as_uri()
    assert one(uri).url == uri
    (tmp_path / "plain").mkdir()
    assert one(str(tmp_path / "plain")).url == (tmp_path / "plain").as_uri()
    for absent in (str(tmp_path / "absent"), (tmp_path / "absent").as_uri()):
        with pytest.raises(Unreachable, match="no such folder"):
            one(absent)


def test_a_folder_in_somebody_else_s_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine-local lock of one user, installed by another: an answer, not a crash.

    Before Python 3.12, `Path.is_dir` raises where a folder above may not be entered.
    """

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    for given in ((tmp_path / "private").as_uri(), str(tmp_path / "private")):
        with pytest.raises(Unreachable, match="none that you may enter"):
            one(given)
    with pytest.raises(Unreachable, match="no channel `conda-forge`"):
        one("conda-forge", mirror=str(tmp_path / "private"))


@pytest.mark.parametrize("name", ["", "a b", "x\ny"])
def test_what_cannot_be_a_channel(name: str) -> None:
    with pytest.raises(InvalidValue, match="no channel name"):
        one(name)


def test_folder_of() -> None:
    assert folder_of("/x/y") == Path("/x/y")
    assert folder_of("file:///x/a%20b") == Path("/x/a b")
    assert folder_of("https://host/x") is None


def test_without_credentials() -> None:
    assert without_credentials("https://u@host:8080/t/x/a?b#c") == "https://host:8080/a"
    assert without_credentials("file:///x/") == "file:///x"
    assert without_credentials("conda-forge") == "conda-forge"
