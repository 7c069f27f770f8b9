"""An environment to start from: a named set of packages with ranges by torch version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePackage:
    """A package of a template, and when it takes part."""

    spec: str
    """Conda spec as a person would write it, `transformers >=4.40,<5`."""
    torch: str = ""
    """PEP 440 specifier on torch, `>=2.1`; empty: always."""
    platforms: tuple[str, ...] = ()
    """Only on these; empty: everywhere."""
    sources: tuple[str, ...] = ()
    """Only with these sources; empty: with all."""
    cuda: bool | None = None
    """True: CUDA builds only. False: CPU builds only. None: both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One file of `templates/environments/`."""

    name: str
    description: str
    packages: tuple[TemplatePackage, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set when the environment is activated."""
