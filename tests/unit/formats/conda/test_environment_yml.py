"""environment.yml: read strictly, changed by as little as possible."""

from __future__ import annotations

import difflib
from io import StringIO

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from envforge.errors import InvalidFile, InvalidValue
from envforge.formats.conda import environment_yml
from envforge.formats.conda.conda_spec import parse, parse_pip
from envforge.formats.conda.environment_yml import EnvironmentDocument
from envforge.model.spec import Dependency, EnvironmentSpec

TEXT = """\
# Our first one; do not touch without asking Ada.

name: nlp-bert-torch20-cu118   # checked against the folder
channels: [nvidia, conda-forge, pytorch, nodefaults]
platforms:
- linux-64

dependencies:
  # core
  - python=3.10

  - "pytorch::pytorch=2.0.1=py3.10_cuda11.8*"   # exact
  - transformers >=4.40   # for Qwen
  - numpy
  - 'Pandas>=2,<3'
  - pip:
      # wheels
      - datasets[audio]>=2
      - foo @ https://h.org/foo-1.0-py3-none-any.whl#sha256=aa  # ours
variables:
  OMP_NUM_THREADS: 4
  TOKENIZERS_PARALLELISM: "false"
"""
CONDA = {
    "python": "3.10.14",
    "pytorch": "2.0.1",
    "transformers": "4.57.6",
    "numpy": "1.26.4",
    "pandas": "2.2.0",
    "unknown": "1",
}
PIP = {"datasets": "3.0.1", "foo": "1.0"}


def read(text: str) -> EnvironmentDocument:
    return environment_yml.read(text, "environment.yml")


def small(dependencies: str) -> str:
    return f"name: x\nchannels: [conda-forge]\nplatforms: [linux-64]\n{dependencies}"


def changes(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_a_file_as_people_write_it() -> None:
    spec = read(TEXT).spec

    assert spec == EnvironmentSpec(
        name="nlp-bert-torch20-cu118",
        channels=("nvidia", "conda-forge", "pytorch", "nodefaults"),
        platforms=("linux-64",),
        variables={"OMP_NUM_THREADS": "4", "TOKENIZERS_PARALLELISM": "false"},
        dependencies=(
            Dependency(name="python", version="=3.10"),
            Dependency(
                name="pytorch",
                version="=2.0.1",
                build="py3.10_cuda11.8*",
                channel="pytorch",
                comment="exact",
            ),
            Dependency(name="transformers", version=">=4.40", comment="for Qwen"),
            Dependency(name="numpy"),
            Dependency(name="pandas", version=">=2,<3"),
            Dependency(name="datasets", version=">=2", extras=("audio",), manager="pip"),
            Dependency(
                name="foo",
                manager="pip",
                url="https://h.org/foo-1.0-py3-none-any.whl#sha256=aa",
                comment="ours",
            ),
        ),
    )


def test_exact_versions_are_written_back_and_nothing_else_changes() -> None:
    document = read(TEXT).with_versions(CONDA, PIP)

    assert changes(TEXT, document.text) == [
        "-  - python=3.10",
        "+  - python=3.10.14  # asked: =3.10",
        "-  - transformers >=4.40   # for Qwen",
        "-  - numpy",
        "-  - 'Pandas>=2,<3'",
        "+  - transformers=4.57.6   # asked: >=4.40; for Qwen",
        "+  - numpy=1.26.4  # asked: any",
        "+  - 'Pandas=2.2.0'  # asked: >=2,<3",
        "-      - datasets[audio]>=2",
        "+      - datasets[audio]==3.0.1  # asked: >=2",
    ]
    assert document.with_versions(CONDA, PIP).text == document.text


def test_the_ranges_that_were_asked_for_are_read_again() -> None:
    document = read(TEXT).with_versions(CONDA, PIP)

    asked = [environment_yml.asked_range(item) for item in document.spec.dependencies]

    assert asked == ["=3.10", "=2.0.1", ">=4.40", "", ">=2,<3", ">=2", ""]
    loose = environment_yml.with_asked_ranges(document.spec)
    assert [item.version for item in loose.dependencies] == asked
    assert changes(TEXT, document.with_asked_ranges().text) == [
        "-  - transformers >=4.40   # for Qwen",
        "+  - transformers>=4.40   # for Qwen",  # a space, that is all
    ]
    assert "numpy=1.26.4" in document.with_asked_ranges({"pandas"}).text


def test_a_new_range_over_an_old_one_is_what_is_asked_for() -> None:
    """A person edits the line and leaves the comment."""
    document = read(
        small("dependencies:\n  - a>=2  # asked: >=1; because\n  - b=2.1 # asked: =2.0\n")
    )

    assert environment_yml.asked_range(document.spec.dependencies[0]) == ">=2"
    pinned = document.with_versions({"a": "2.5", "b": "2.1.3"})
    assert pinned.text.splitlines()[-2:] == [
        "  - a=2.5  # asked: >=2; because",
        "  - b=2.1.3 # asked: =2.1",
    ]


def test_builds_with_a_range_stay() -> None:
    document = read(small("dependencies:\n  - pytorch >=2.7 *cuda126*\n  - x=*=*cuda*\n"))

    pinned = document.with_versions({"pytorch": "2.7.1", "x": "1.0"})

    assert pinned.text.splitlines()[-2:] == [
        "  - pytorch=2.7.1=*cuda126*  # asked: >=2.7",
        "  - x=1.0=*cuda*  # asked: =*",
    ]
    assert pinned.with_asked_ranges().spec.dependencies == document.spec.dependencies


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_ends_are_kept(newline: str) -> None:
    text = TEXT.replace("\n", newline)

    document = read(text).with_versions(CONDA, PIP).with_dependency(parse("scipy"))

    assert document.text.count(newline) == document.text.count("\n") == text.count("\n") + 1
    assert read(TEXT).spec == read(text).spec


def test_a_last_line_without_a_line_break() -> None:
    document = read(small("dependencies:\n  - a>=1"))

    assert document.with_versions({"a": "2"}).text.endswith("  - a=2  # asked: >=1")
    assert document.with_dependency(parse("b")).text.endswith("  - a>=1\n  - b")
    assert document.without_dependency("a").text.endswith("dependencies: []\n")


def test_lists_in_brackets_become_lines() -> None:
    document = read(small("dependencies: [python=3.10, {pip: [a, 'b>1']}]\n"))

    assert document.with_versions({"python": "3.10.1"}, {"b": "2"}).text == small(
        "dependencies:\n"
        "  - python=3.10.1  # asked: =3.10\n"
        "  - pip:\n"
        "      - a\n"
        "      - 'b==2'  # asked: >1\n"
    )


def test_a_comment_in_brackets_is_not_lost() -> None:
    document = read(small("dependencies: [ # mine\n  python=3.10,\n  numpy]\n"))

    with pytest.raises(InvalidFile, match="line 4, column 15: a comment inside"):
        document.with_versions({"numpy": "1"})


def test_dependencies_are_added_behind_their_kind() -> None:
    document = (
        read(TEXT)
        .with_dependency(parse("pytorch::torchaudio=2.0.2"))
        .with_dependency(parse_pip("bar==1; sys_platform == 'linux'"))
        .with_dependency(Dependency(name="mkl", version="<2024.1", comment="torch 2.0 [sic]\nold"))
    )

    assert changes(TEXT, document.text) == [
        "+  - pytorch::torchaudio=2.0.2",
        "+  - mkl<2024.1  # torch 2.0 (sic) old",
        "+      - bar==1; sys_platform == 'linux'",
    ]


def test_adding_what_is_there_replaces_it() -> None:
    document = read(TEXT).with_versions(CONDA).with_dependency(parse("transformers<5"))
    channel = document.with_dependency(parse("conda-forge::pandas=2.1"))

    assert "  - transformers<5   # for Qwen\n" in document.text
    assert "  - 'conda-forge::pandas=2.1'\n" in channel.text


def test_the_first_dependency_of_a_kind() -> None:
    empty = read(small("dependencies: []\nvariables: {}\n"))

    conda = empty.with_dependency(parse("a"))
    pip = empty.with_dependency(parse_pip("b"))

    assert "\ndependencies:\n  - a\nvariables" in conda.text
    assert "\ndependencies:\n  - pip:\n      - b\nvariables" in pip.text
    both = "\ndependencies:\n  - a\n  - pip:\n      - b\nvariables"
    assert both in conda.with_dependency(parse_pip("b")).text
    assert both in pip.with_dependency(parse("a")).text


def test_dependencies_are_removed_without_their_neighbours() -> None:
    document = read(TEXT).without_dependency("numpy").without_dependency("foo", "pip")

    assert changes(TEXT, document.text) == [
        "-  - numpy",
        "-      - foo @ https://h.org/foo-1.0-py3-none-any.whl#sha256=aa  # ours",
    ]
    assert "pip:" not in document.without_dependency("datasets").text


def test_what_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(InvalidValue, match="did you mean `transformers`"):
        read(TEXT).without_dependency("transformer")
    with pytest.raises(InvalidValue, match="is not in"):
        read(TEXT).without_dependency("numpy", "pip")


def test_every_mistake_at_once_with_its_place() -> None:
    text = """\
nmae: a
name: x y
name: b
platforms: [linux64, linux-64, linux-64, 1.0]
dependancies:
  - a
channels: ["a b", "https://user:secret@h.org/c", "https://h.org/t/tk-123/c", a, a]
category: dev
dependencies:
  - numpy>1.2,
  - 1.10
  - [x]
  - foo==
  - foo  # [win]
  - datasets[audio]
  - twice
  - twice>=1
  - pipp:
      - a
  - pip:
      - -e .
variables:
  A-B: c
  C: 1.10
  D: [e]
  E: true
  F: 010
"""
    with pytest.raises(InvalidFile) as caught:
        read(text)

    mistakes = caught.value.mistakes
    expected = [
        "line 1, column 1: `nmae`: unknown key; did you mean `name`?",
        "line 2, column 7: `name` is `x y`; it may hold letters",
        "line 3, column 1: `name` stands here a second time (first in line 2)",
        "line 4, column 13: `linux64` is no platform that can be locked; did you mean `linux-64`?",
        "line 4, column 32: `linux-64` stands here a second time",
        "line 4, column 42: an item of `platforms` is the number `1.0`",
        "line 5, column 1: `dependancies`: unknown key; did you mean `dependencies`?",
        "line 7, column 12: `a b` is neither a channel's name nor its address",
        "line 7, column 19: the channel's address holds a secret",
        "line 7, column 50: the channel's address holds a secret",
        "line 7, column 81: the channel `a` stands here a second time",
        "line 8, column 11: `category` can only be `main` here",
        "line 10, column 5: package spec `numpy>1.2,` has a comma",
        "line 11, column 5: a dependency is the number `1.10`, and should be text; write `'1.10'`",
        "line 12, column 5: a dependency is a list, and should be text",
        "line 13, column 5: package spec `foo==` has no version behind `==`",
        "line 14, column 12: conda-lock takes `[win]` in the comment for a platform selector",
        "line 15, column 5: package spec `datasets[audio]` has extras",
        "line 17, column 5: `twice` is listed a second time (first in line 16)",
        "line 18, column 5: `pipp`: unknown key; did you mean `pip`?",
        "line 21, column 9: requirement `-e .` is editable",
        "line 23, column 8: `A-B` is no name of an environment variable",
        "line 24, column 6: `C` is the number `1.10`, and should be text; write `'1.10'`",
        "line 25, column 6: `D` is a list, and should be text",
        "line 26, column 6: `E` is the YAML value `true`",
        "line 27, column 6: `F` is the number `010`",
    ]
    assert len(mistakes) == len(expected), mistakes
    for mistake, start in zip(mistakes, expected, strict=True):
        assert mistake.startswith(start), mistake
    assert "secret@" not in str(caught.value)
    assert "tk-123" not in str(caught.value)


def test_missing_keys() -> None:
    with pytest.raises(InvalidFile) as caught:
        read("channels: [a]\n")

    assert [m.partition(": ")[2].partition(" is missing")[0] for m in caught.value.mistakes] == [
        "`dependencies`",
        "`name`",
        "`platforms`",
    ]


def test_platforms_may_be_missing_in_a_file_of_somebody_else() -> None:
    text = "name: a\nprefix: /x\ncategory: main\ndependencies: [b]\n"

    spec = environment_yml.read(text, "x.yml", need_platforms=False).spec

    assert (spec.platforms, spec.channels) == ((), ())


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name: a\n\tb: c\n", "line 2, column 1: a tab"),
        ("- a\n", "line 1, column 1: the file is a list"),
        ("dependencies: &a [b]\n", "anchors and aliases"),
        (small("dependencies: x\n"), "`dependencies` is the text `x`, and should be a list"),
        (small("dependencies:\n  - pip:\n"), "`pip` is empty, and should be a list"),
        (small("dependencies:\n  - a 1 c d\n"), "more than a version and a build"),
        (small("dependencies:\n  - numpy pandas\n"), "names several packages"),
    ],
)
def test_broken_files(text: str, mistake: str) -> None:
    with pytest.raises(InvalidFile, match=r"environment\.yml") as caught:
        read(text)

    assert mistake in str(caught.value)


def test_a_fresh_file() -> None:
    spec = EnvironmentSpec(
        name="demo-torch27-cu126",
        channels=("conda-forge", "nodefaults"),
        platforms=("linux-64",),
        dependencies=(
            Dependency(name="python", version="=3.12"),
            Dependency(name="pytorch", version="=2.7.1", build="*cuda126*"),
            Dependency(name="mkl", version="<2024.1", comment="pytorch/pytorch#123097"),
            Dependency(name="torch", version="==2.1", manager="pip", marker="os_name == 'nt'"),
        ),
        variables={"B": "1", "A": "yes: no"},
    )

    text = environment_yml.write(spec, "Made by envforge.\n\nYours to edit.")

    assert text == (
        "# Made by envforge.\n#\n# Yours to edit.\n"
        "name: demo-torch27-cu126\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        "platforms:\n  - linux-64\n"
        "dependencies:\n"
        "  - python=3.12\n"
        "  - pytorch=2.7.1=*cuda126*\n"
        "  - mkl<2024.1  # pytorch/pytorch#123097\n"
        "  - pip:\n"
        "      - torch==2.1; os_name == 'nt'\n"
        "variables:\n  A: 'yes: no'\n  B: '1'\n"
    )
    assert read(text).spec == spec


def test_an_empty_file_is_written_and_read() -> None:
    spec = EnvironmentSpec(name="a", channels=(), dependencies=(), platforms=("win-64",))

    assert read(environment_yml.write(spec)).spec == spec


COMMENTS = st.from_regex(r"[a-z][a-z ,.;:-]{0,10}[a-z]", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(
        st.tuples(
            st.from_regex(r"[a-z]{3,6}", fullmatch=True),
            st.sampled_from(["", "=1.2", ">=1", " 1.2 b_0", "==1", " >=1,<2"]),
            st.none() | COMMENTS,
            st.sampled_from(["", "\n", "  # of its own\n"]),
            st.sampled_from(["", "'", '"']),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda line: line[0],
    ),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_writing_back_loses_nothing(
    lines: list[tuple[str, str, str | None, str, str]], newline: str
) -> None:
    """What every YAML reader sees, all comments and blank lines; and twice is once."""
    body = "".join(
        f"{before}  - {quote}{name}{version}{quote}{f'  # {comment}' if comment else ''}\n"
        for name, version, comment, before, quote in lines
    )
    text = small(f"dependencies:\n{body}").replace("\n", newline)
    versions = {name: "9.9.9" for name, *_ in lines}

    document = read(text).with_versions(versions)

    assert document.with_versions(versions).text == document.text
    assert document.text.count("\n") == text.count("\n")
    for _, _, comment, _, _ in lines:
        assert comment is None or comment in document.text
    plain = yaml.safe_load(document.text)["dependencies"]
    assert plain == YAML(typ="safe", pure=True).load(StringIO(document.text))["dependencies"]
    assert [parse(line).version for line in plain] == ["=9.9.9"] * len(lines)
    restored = document.with_asked_ranges().spec
    assert [item.version for item in restored.dependencies] == [
        item.version for item in read(text).spec.dependencies
    ]
