"""Renders the templates of outputs: ours, or somebody's own of the same name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from envforge.adapters.templates_folder import templates_folder
from envforge.errors import InvalidFile
from envforge.formats.text.quoting import FILTERS

FOLDER: Final = "exports"
"""Of templates for outputs, in `templates/`."""

_OF_ITS_CODE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What an expression in a template can raise besides jinja2's own errors."""


_FILTERED: Final = "`{{ env.name | shell }}`; filters: " + ", ".join(sorted(FILTERS))


class _Quoted(str):
    """Text that a filter made a value of its language."""

    __slots__ = ()


class OutputTemplates:
    """The templates of outputs.

    Args:
        own: the folder of somebody's own templates; `exports/NAME` in it is taken before ours.
    """

    def __init__(self, own: Path) -> None:
        self._own = own / FOLDER
        self._ours = templates_folder() / FOLDER

    def has_own(self, name: str) -> bool:
        """Whether somebody's own template of this name is there."""
        return (self._own / name).is_file()

    def render(self, name: str, values: Mapping[str, object]) -> str:
        """The text of a template with these values.

        A value goes through a filter of its language, or the template is refused; own templates
        come with a repository, so they are rendered in jinja2's sandbox.

        Raises:
            InvalidFile: the template cannot be read, or asks for what there is not.
            InvalidValue: a value that the language cannot carry.
        """
        from jinja2 import TemplateError

        path = self._own / name if self.has_own(name) else self._ours / name
        try:
            text: str = self._environment.get_template(name).render(values)
        except (TemplateError, *_OF_ITS_CODE) as error:
            raise InvalidFile(
                path=str(path),
                mistakes=(_said(error),),
                remedy=_FILTERED if isinstance(error, _Bare) else None,
            ) from error
        return text if text.endswith("\n") else f"{text}\n"

    @cached_property
    def _environment(self) -> Any:
        """One for all files of an output: it keeps what they include, compiled."""
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            loader=_loader(self._own, self._ours),
            undefined=StrictUndefined,
            finalize=_only_quoted,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        environment.filters |= {name: _filter(quote) for name, quote in FILTERS.items()}
        return environment


def _loader(*folders: Path) -> Any:
    """Reads templates below the folders; a link of a repository leads to no file elsewhere."""
    from jinja2 import FileSystemLoader, TemplateNotFound

    class Below(FileSystemLoader):
        def get_source(self, environment: Any, template: str) -> Any:
            found = super().get_source(environment, template)
            real = Path(str(found[1])).resolve()
            if not any(real.is_relative_to(folder.resolve()) for folder in folders):
                raise TemplateNotFound(template, f"`{template}` is a link that leads elsewhere")
            return found

    return Below(folders)


class _Bare(TypeError):
    """A template puts a bare value into its output."""


def _filter(quote: Callable[[str], str]) -> Callable[[object], str]:
    from jinja2 import Undefined

    def apply(value: object) -> str:
        if isinstance(value, Undefined):
            str(value)  # tells that it is not there
        return _Quoted(quote(value if isinstance(value, str) else str(value)))

    return apply


def _only_quoted(value: object) -> object:
    from jinja2 import Undefined

    if isinstance(value, (_Quoted, int, Undefined)):  # what is not there tells that itself
        return value
    if type(value).__name__ == "Markup" or not isinstance(value, str):
        raise _Bare(f"a value that no filter made text of: {value!r}")
    raise _Bare(f"a value without a filter for its language: {value!r}")


def _said(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    place = f"line {line}: " if line else ""
    return f"{place}{str(error) or type(error).__name__}"
