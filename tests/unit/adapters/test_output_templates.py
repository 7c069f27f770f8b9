"""Templates: quoted values only, nothing missing, somebody's own before ours, and in a sandbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from envforge.adapters.output_templates import OutputTemplates
from envforge.errors import InvalidFile, InvalidValue


def rendered(folder: Path, text: str, **values: object) -> str:
    (folder / "exports").mkdir()
    (folder / "exports" / "t.j2").write_text(text)
    return OutputTemplates(folder).render("t.j2", values)


def test_a_value_goes_through_a_filter(tmp_path: Path) -> None:
    assert rendered(tmp_path, "x={{ v | shell }}", v="a'b $(c)") == "x='a'\\''b $(c)'\n"


def test_numbers_and_conditions_need_none(tmp_path: Path) -> None:
    text = "{% if v %}{{ v }},{% endif %}{% for i in l %}{{ i | yaml }},{% endfor %}"
    assert rendered(tmp_path, text, v=3, l=["a", "yes"]) == "3,a,'yes',\n"


@pytest.mark.parametrize("text", ["{{ v }}", "{{ v | upper }}", "{{ (v | shell) ~ v }}", "{{ l }}"])
def test_a_bare_value_is_a_mistake_of_the_template(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidFile, match=r"without a filter|no filter made") as caught:
        rendered(tmp_path, text, v="a", l=["a"])
    assert caught.value.path.endswith("exports/t.j2")
    assert "`{{ env.name | shell }}`; filters: apptainer, " in str(caught.value.hint)


@pytest.mark.parametrize("text", ["{{ w | shell }}", "{{ w }}", "{{ v.w | shell }}"])
def test_what_is_not_there_is_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidFile, match=r"is undefined|has no attribute"):
        rendered(tmp_path, text, v="a")


def test_a_mistake_in_the_language_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="line 2: "):
        rendered(tmp_path, "\n{% if %}")


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ | shell }}",
        "{{ v.__init__.__globals__ | shell }}",
        "{% set x = l.append(1) %}",
    ],
)
def test_a_template_that_came_with_a_repository_does_nothing_else(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(InvalidFile):
        rendered(tmp_path, text, v="a", l=[])


@pytest.mark.parametrize(
    "text", ["{{ (1 + v) | json }}", "{{ 1 // 0 }}", "{% for i in 3 %}{% endfor %}"]
)
def test_what_its_code_raises_is_its_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidFile):
        rendered(tmp_path, text, v="a")


def test_what_a_language_cannot_carry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="cannot carry"):
        rendered(tmp_path, "ENV X={{ v | dockerfile }}", v="a\nRUN rm")


def test_ours_is_taken_where_there_is_no_own(tmp_path: Path) -> None:
    templates = OutputTemplates(tmp_path)
    assert not templates.has_own("envforge-requirements.txt.j2")
    assert "--hash=sha256:" in templates.render(
        "envforge-requirements.txt.j2", {"env": {"envforge": "1.0"}}
    )


def test_own_ones_may_extend_ours(tmp_path: Path) -> None:
    text = "{% include 'envforge-requirements.txt.j2' %}# more"
    found = rendered(tmp_path, text, env={"envforge": "1.0"})
    assert "--hash=sha256:" in found
    assert found.endswith("# more\n")


@pytest.mark.parametrize("text", ["{% include 'link.j2' %}", "{% extends 'link.j2' %}"])
def test_a_link_shows_no_file_of_whoever_exports(tmp_path: Path, text: str) -> None:
    """A repository can hold one to `~/.netrc`, and what is written may be given away."""
    (tmp_path / "secret").write_text("hunter2")
    own = tmp_path / "templates"
    (own / "exports").mkdir(parents=True)
    (own / "exports" / "link.j2").symlink_to(tmp_path / "secret")
    (own / "exports" / "t.j2").write_text(text)
    with pytest.raises(InvalidFile, match="leads elsewhere"):
        OutputTemplates(own).render("t.j2", {})
    with pytest.raises(InvalidFile, match="leads elsewhere"):
        OutputTemplates(own).render("link.j2", {})
    (own / "exports" / "t.j2").write_text("as it is")
    (own / "exports" / "near.j2").symlink_to("t.j2")
    assert OutputTemplates(own).render("near.j2", {}) == "as it is\n"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd"])
def test_no_template_lies_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(InvalidFile):
        OutputTemplates(tmp_path / "own").render(name, {})
