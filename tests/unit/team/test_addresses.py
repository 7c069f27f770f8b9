"""From addresses to names."""

from __future__ import annotations

import pytest
from fakes.exported import FORGE, PRIVATE, conda

from envforge.model.models import Repo, RepoKind
from envforge.team.addresses import channel_address, channel_of, hub_address


@pytest.mark.parametrize(
    ("channel", "listed", "shown"),
    [
        (FORGE, (), "conda-forge"),
        (FORGE, ("nvidia", "conda-forge"), "conda-forge"),
        ("https://repo.anaconda.com/pkgs/main", (), "pkgs/main"),
        ("https://conda.anaconda.org/nvidia/label/cuda-11.8.0", (), "nvidia/label/cuda-11.8.0"),
        (PRIVATE, (), PRIVATE),
        (PRIVATE, ("conda-forge", f"{PRIVATE}/"), f"{PRIVATE}/"),
        (PRIVATE, ("team/tools", "conda-forge"), "team/tools"),
    ],
)
def test_a_channel_as_people_write_it(channel: str, listed: tuple[str, ...], shown: str) -> None:
    assert channel_of(conda("a", channel=channel), listed) == shown


def test_a_name_means_where_packages_came_from() -> None:
    """A channel under a site's own alias is known by its packages only."""
    packages = [conda("a"), conda("b", channel=PRIVATE)]

    assert channel_address("team/tools", packages) == PRIVATE
    assert channel_address("team/tools", []) == "https://conda.anaconda.org/team/tools"
    assert channel_address("pkgs/r", []) == "https://repo.anaconda.com/pkgs/r"


@pytest.mark.parametrize(
    ("kind", "place"), [("model", ""), ("dataset", "datasets/"), ("space", "spaces/")]
)
def test_files_of_the_hub(kind: RepoKind, place: str) -> None:
    repo = Repo(kind=kind, id="org/name")

    assert hub_address(repo, "c0ffee", "a b/c.bin") == (
        f"https://huggingface.co/{place}org/name/resolve/c0ffee/a%20b/c.bin"
    )
    assert hub_address(repo, "c0ffee") == f"https://huggingface.co/{place}org/name/tree/c0ffee"
