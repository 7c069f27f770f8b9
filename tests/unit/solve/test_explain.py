"""A solver's reasons become a dozen lines that a person can act on."""

from __future__ import annotations

from envforge.model.solving import Channel, CondaConflict, CondaProblem
from envforge.model.spec import Constraint, VirtualPackage
from envforge.solve.explain import LONGEST, shortened


def explained(
    text: str,
    *,
    virtual: dict[str, str] | None = None,
    constraints: tuple[Constraint, ...] = (),
    **changes: dict[str, tuple[str, ...]],
) -> str:
    problem = CondaProblem(
        platform="linux-64",
        channels=(Channel(name="c", url="https://host/c"),),
        dependencies=(),
        constraints=constraints,
        virtual_packages=tuple(
            VirtualPackage(name=name, version=version) for name, version in (virtual or {}).items()
        ),
    )
    return shortened(
        CondaConflict(platform="linux-64", explanation=text, **changes),  # type: ignore[arg-type]
        problem,
    )


def test_a_misspelt_name_says_only_that() -> None:
    assert explained(
        "No candidates were found for transfomers *.",
        unknown={"transfomers": ("transformers", "transforms3d")},
    ) == (
        "`transfomers`: no channel has a package of this name for linux-64;"
        " did you mean `transformers` or `transforms3d`?"
    )
    assert "did you mean" not in explained("…", unknown={"zzz": ()})


def test_a_version_nobody_has_shows_what_there_is() -> None:
    assert explained(
        'No candidates were found for torchaudio 2.1.1.*[channel="pytorch"].',
        available={"torchaudio": ("2.3.0", "2.1.0")},
    ).splitlines() == [
        "`torchaudio`: what the channels have nearest is 2.3.0, 2.1.0",
        "No candidates were found for pytorch::torchaudio 2.1.1.*.",
    ]


def test_a_missing_virtual_package_in_words() -> None:
    """With what the target has instead, and where that is said."""
    text = (
        "pytorch ==2.8.0 *cuda* cannot be installed because there are no viable options:\n"
        "└─ pytorch 2.8.0 would require\n"
        "   └─ __cuda  >=12.8, for which no candidates were found.\n"
    )
    assert explained(text).splitlines()[0] == (
        "`__cuda >=12.8` is needed, and the target has no `__cuda`:"
        " that is the driver's CUDA, in virtual-packages.yml; CPU targets have none"
    )
    assert "the target has `__cuda 12.4`" in explained(text, virtual={"__cuda": "12.4"})
    plain = "a 1 would require\n└─ __cuda *, for which no candidates were found.\n"
    assert explained(plain).startswith("`__cuda` is needed")
    other = "a 1 would require\n└─ __conda_x >=1, for which no candidates were found.\n"
    assert "see virtual-packages.yml" in explained(other)


def test_a_known_bad_range_in_the_way_is_told_with_its_source() -> None:
    text = (
        "The following packages are incompatible\n"
        "├─ numpy >=2 can be installed with any of the following options:\n"
        "│  └─ numpy 2.0.0 | 2.1.0 | 2.2.0\n"
        "└─ the constraint numpy <2 cannot be fulfilled\n"
    )
    limits = (
        Constraint(package="numpy", range="<2", reason="built for NumPy 1", source="o/r#1"),
        Constraint(package="mkl", range="<2024.1", reason="x", source=""),
    )
    assert explained(text, constraints=limits).splitlines()[0] == (
        "`numpy <2` is known to be needed: built for NumPy 1 (o/r#1)"
    )


def test_strict_priority_is_told() -> None:
    text = (
        "The following packages are incompatible\n"
        "└─ torchvision 0.19.1.* cannot be installed because there are no viable options:\n"
        "   └─ torchvision 0.19.1 is excluded because due to strict channel priority not using"
        " this option from: 'https://conda.anaconda.org/conda-forge/'\n"
    )
    assert explained(text).startswith(
        "strict channel priority: torchvision 0.19.1 of `https://conda.anaconda.org/conda-forge`"
    )
    elsewhere = text.replace(
        "due to strict channel priority not using this option from: "
        "'https://conda.anaconda.org/conda-forge/'",
        "candidate not in requested channel: 'pytorch'",
    )
    assert explained(elsewhere).startswith(
        "torchvision 0.19.1 is there, but not in the channel asked for, `pytorch`"
    )


def test_branches_that_differ_in_versions_become_one() -> None:
    """59 lines for one Python too many become two."""
    branches = "".join(
        f"│  ├─ torch 2.{minor}.0 would require\n│  │  └─ python >=3.{minor},<3.{minor + 1}.0a0,"
        " for which no candidates were found.\n"
        for minor in range(8, 38)
    )
    text = (
        "The following packages are incompatible\n"
        "├─ torch * cannot be installed because there are no viable options:\n" + branches
    )
    assert explained(text).splitlines() == [
        "The following packages are incompatible",
        "  torch * does not fit:",
        (
            "    torch 2.8.0 or 2.9.0 or 2.10.0 … would require"
            " python 3.8.* or 3.9.* or 3.10.* …, and none is left"
        ),
    ]


def test_ranges_of_more_than_a_minor_release_and_lists_of_versions() -> None:
    text = (
        "a * can be installed with any of the following options:\n"
        "├─ a 1.0 | 1.1 | 1.2 | 1.3 would require\n"
        "│  └─ b >=1.2,<2.0a0, which cannot be installed because there are no viable options:\n"
        "│     └─ b 1.5 would constrain\n"
        "│        └─ c <1, which conflicts with any installable versions previously reported\n"
    )
    assert explained(text).splitlines() == [
        "a * may be:",
        "  a 1.0 … 1.3 would require b >=1.2,<2.0a0, where:",
        "    b 1.5 would constrain c <1",
    ]


def test_never_longer_than_a_dozen_lines() -> None:
    """What is left out is counted."""
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
    ]
    text = "The following packages are incompatible\n" + "".join(
        f"├─ {word} * cannot be installed because there are no viable options:\n"
        f"│  └─ nothing for {word}\n"
        for word in words
    )
    lines = explained(text).splitlines()
    assert len(lines) == LONGEST
    assert lines[-1] == "(and 18 reasons below these)"
