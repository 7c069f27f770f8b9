"""What a person types, as a dependency and back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.errors import InvalidValue
from envforge.formats.conda import conda_spec
from envforge.formats.conda.conda_spec import parse, parse_line, parse_pip
from envforge.model.spec import Dependency


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("transformers", {}),
        ("PyYAML", {"name": "pyyaml"}),
        ("transformers>=4.40", {"version": ">=4.40"}),
        ("numpy=1.26", {"version": "=1.26"}),
        ("numpy==1.26.4", {"version": "==1.26.4"}),
        ("numpy 1.26.4", {"version": "1.26.4"}),
        ("numpy 1.26.*", {"version": "1.26.*"}),
        ("numpy 1.26*", {"version": "1.26*"}),
        ("numpy =1.26", {"version": "=1.26"}),
        ("name >=1,<2", {"version": ">=1,<2"}),
        ("name >= 1 , < 2", {"version": ">=1,<2"}),
        ("name ~=1.4|==2.0", {"version": "~=1.4|==2.0"}),
        ("pytorch::torchvision", {"name": "torchvision", "channel": "pytorch"}),
        (
            "conda-forge::pkg=1.2=build*",
            {"name": "pkg", "version": "=1.2", "build": "build*", "channel": "conda-forge"},
        ),
        ("name 1.2 build", {"version": "1.2", "build": "build"}),
        ("name >=1,<2 build_0", {"version": ">=1,<2", "build": "build_0"}),
        ("name==1.2=h0_0", {"version": "==1.2", "build": "h0_0"}),
        ("name =1.2 h0_0", {"version": "=1.2", "build": "h0_0"}),
        ("name=*=*cuda*", {"version": "=*", "build": "*cuda*"}),
        ("name * *cuda*", {"version": "*", "build": "*cuda*"}),
        ("name[version='>=1,<2']", {"version": ">=1,<2"}),
        ("name[version='=1.2',build=\"*cuda*\"]", {"version": "1.2.*", "build": "*cuda*"}),
        ("name[version='==1.2', build=b]", {"version": "==1.2", "build": "b"}),
        ("name[channel=pytorch]", {"channel": "pytorch"}),
        ("name=1.2[build=b]", {"version": "=1.2", "build": "b"}),
        ("datasets[audio]", {"name": "datasets", "extras": ("audio",)}),
        ("datasets[vision, audio]>=2", {"extras": ("audio", "vision"), "version": ">=2"}),
        ("tzdata=2024a", {"version": "=2024a"}),
        ("jpeg=9e", {"version": "=9e"}),
        ("x=1!2.0+local.1", {"version": "=1!2.0+local.1"}),
        ("https://h.org/t/$TOKEN/chan::x", {"name": "x", "channel": "https://h.org/t/$TOKEN/chan"}),
        ("_libgcc_mutex=0.1", {"name": "_libgcc_mutex", "version": "=0.1"}),
    ],
)  # fmt: skip
def test_conda_forms(text: str, fields: dict[str, object]) -> None:
    name = text.replace("[", " ").replace("=", " ").replace(">", " ").replace("~", " ").split()[0]
    expected = Dependency(**{"name": name, **fields})  # type: ignore[arg-type]

    dependency = parse(text)

    assert dependency == expected
    if not dependency.extras:
        again = parse(conda_spec.format_conda(dependency))
        assert conda_spec.conda_version(again.version, again.build) == conda_spec.conda_version(
            dependency.version, dependency.build
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("=1.0", "has no package name"),
        (">=1.0", "has no package name"),
        ("pytorch::", "has no package name"),
        ("foo==", "has no version behind `==`"),
        ("foo>", "has no version behind `>`"),
        ("foo>=", "has no version behind `>=`"),
        ("numpy>1.2,", "nothing before or behind"),
        ("numpy ,1", "nothing before or behind"),
        ("numpy>1||<2", "nothing before or behind"),
        ("foo=>1", "did you mean `>=`"),
        ("foo=<1", "did you mean `<=`"),
        ("foo<>1", "did you mean `!=`"),
        ("foo===1", "did you mean `==`"),
        ("foo=!1", "has the operator `=!`"),
        ("foo>=1.*", "`*` behind `>=`"),
        ("foo=1.*.2", "where a version should be"),
        ("foo 1 2 3", "more than a version and a build"),
        ("foo=1=b!", "where a version should be|holds|version"),
        ("foo 1 b,c", "where a version should be|more than"),
        ("foo; rm -rf /", "holds ';'"),
        ("$(id)", "holds '$'"),
        ("`id`", "holds '`'"),
        ("foo&bar", "holds '&'"),
        ("foo\nbar", "line break"),
        ("foo\\bar", "holds '\\\\'"),
        ("foo (>=1)", "holds '('"),
        ("foo/bar", "cannot stand there"),
        ("-foo", "cannot stand there"),
        ("foo.", "cannot stand there"),
        ("a b::c", "neither a name nor an address"),
        ("conda-forge/linux-64::foo", "names a platform's folder"),
        ("foo[", "brackets that do not pair"),
        ("foo[a][b]", "brackets that do not pair"),
        ("foo=1[a]=2", "brackets that do not pair"),
        ("foo[a b]", "is no name"),
        ("foo[md5=abc]", "asks for `md5`"),
        ("foo[version=]", "empty `version`"),
        ("foo[version='>=1' x]", "not of the form"),
        ("foo[version='>']", "no version behind"),
        ("foo[build='a b']", "has the build"),
        ("foo[channel='a b']", "neither a name"),
    ],
)  # fmt: skip
def test_bad_conda_specs_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(text)

    assert any(part in caught.value.reason for part in reason.split("|")), caught.value.reason
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("datasets[audio]", "`pip:`"), ("foo[version='=1.2']", "write `foo 1.2.*`")],
)
def test_a_line_of_the_file_has_to_be_plain(text: str, remedy: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_line(text)

    assert caught.value.remedy is not None
    assert remedy in caught.value.remedy


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse, parse_line, parse_pip):
        try:
            dependency = read(text)
        except InvalidValue:
            continue
        assert dependency.name


@pytest.mark.parametrize(
    ("version", "build", "meaning"),
    [
        ("", "", ""),
        ("=1.26", "", "1.26.*"),
        ("=1.26", "b", "1.26"),
        ("==1.26.4", "", "1.26.4"),
        ("==1.26.4", "b", "==1.26.4"),
        ("1.26*", "", "1.26.*"),
        ("=1.2|1.3*", "", "=1.2|1.3.*"),
        (">=1,<2", "", ">=1,<2"),
        ("*", "b", "*"),
    ],
)
def test_versions_as_conda_understands_them(version: str, build: str, meaning: str) -> None:
    assert conda_spec.conda_version(version, build) == meaning


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("torch==2.1.0", {"version": "==2.1.0"}),
        ("Torch_Vision", {"name": "torch-vision"}),
        ("datasets[vision,audio]>=2,<3", {"version": "<3,>=2", "extras": ("audio", "vision")}),
        ("foo @ https://h/foo-1-py3-none-any.whl#sha256=ab",
         {"url": "https://h/foo-1-py3-none-any.whl#sha256=ab"}),
        ("foo @ file:///srv/foo-1-py3-none-any.whl", {"url": "file:///srv/foo-1-py3-none-any.whl"}),
        ("foo>=1; os_name == 'nt'", {"version": ">=1", "marker": "os_name == 'nt'"}),
        ("foo[x] @ https://h/f.whl ; os_name == 'nt'",
         {"url": "https://h/f.whl", "extras": ("x",), "marker": "os_name == 'nt'"}),
    ],
)  # fmt: skip
def test_pip_forms(text: str, fields: dict[str, object]) -> None:
    dependency = parse_pip(text)

    name = re.split(r"[\[ =>]", text)[0]
    expected = Dependency(manager="pip", **{"name": name, **fields})  # type: ignore[arg-type]
    assert dependency == expected
    assert parse_pip(conda_spec.format_dependency(dependency)) == dependency


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("-e .", "is editable"),
        ("--extra-index-url https://h", "is an option"),
        ("-r requirements.txt", "is an option"),
        ("foo==1 --hash=sha256:ab", "carries a hash"),
        ("https://h/foo.whl", "has no name"),
        ("git+https://h/foo.git", "has no name"),
        ("./foo.whl", "has no name"),
        ("foo @ git+https://h/foo.git", "is no wheel"),
        ("foo @ foo.whl", "is no address"),
        ("foo=1.0", "pip wants `==`"),
        ("foo==", "is no PEP 508 requirement"),
        ("foo; nonsense", "is no PEP 508 requirement"),
        ("foo\nbar", "line break|PEP 508"),
    ],
)
def test_bad_requirements_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_pip(text)

    assert any(part in caught.value.reason for part in reason.split("|")), caught.value.reason


@pytest.mark.parametrize(
    ("conda", "pip"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy==1.26.4", "numpy==1.26.4"),
        ("numpy 1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.4=py310_0", "numpy==1.26.4.*"),
        ("numpy >=1.2,<2,!=1.5.*", "numpy!=1.5.*,<2,>=1.2"),
        ("numpy 1.2*", "numpy==1.2.*"),
        ("numpy *", "numpy"),
        ("pytorch::torchvision~=0.15.0", "torchvision~=0.15.0"),
        ("datasets[audio]>=2", "datasets[audio]>=2"),
    ],
)
def test_the_same_wish_for_pip(conda: str, pip: str) -> None:
    assert conda_spec.format_pip(conda_spec.as_pip(parse(conda))) == pip


def test_pip_has_no_alternatives() -> None:
    with pytest.raises(InvalidValue, match="alternatives"):
        conda_spec.as_pip(parse("numpy 1.2|1.3"))


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("a", False),
        ("a=1.2", True),
        ("a==1", True),
        ("a 1", True),
        ("a=1.*", False),
        ("a>=1", False),
    ],
)
def test_exact_lines(text: str, exact: bool) -> None:
    assert conda_spec.is_exact(parse(text)) is exact


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("python", ("python", "")),
        ("python >=3.8", ("python", ">=3.8")),
        ("python>=3.8", ("python", ">=3.8")),
        ("python=3.8", ("python", "=3.8")),
        ("numpy >= 1.19 , < 2", ("numpy", ">=1.19,<2")),
        ("python_abi 3.10.* *_cp310", ("python_abi", "3.10.* *_cp310")),
        ("blas  *   openblas", ("blas", "* openblas")),
        ("__glibc >=2.17,<3.0.a0", ("__glibc", ">=2.17,<3.0.a0")),
        ("conda-forge::foo >=1", ("foo", ">=1")),
        ("foo[version='>=1',build=b]", ("foo", ">=1 b")),
        ("foo[build=b]", ("foo", "* b")),
        ("foo[extra]", ("foo", "")),
        ("", ("", "")),
    ],
)
def test_dependencies_of_packages_are_split(spec: str, parts: tuple[str, str]) -> None:
    assert conda_spec.split_depends(spec) == parts
