"""Which packages of a template take part in one environment."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.specifiers import SpecifierSet

from envforge.formats.conda import conda_spec
from envforge.model.cuda import CudaVersion
from envforge.model.machine import Platform
from envforge.model.spec import Source
from envforge.model.template import Template, TemplatePackage


def select(
    template: Template,
    *,
    torch: str,
    platforms: Sequence[Platform],
    source: Source,
    cuda: CudaVersion | None,
) -> tuple[str, ...]:
    """The conda specs of a template for one environment, in the template's order.

    An environment.yml is one list for all its platforms, so a package takes part only where
    all of them have it: a template that offers it on linux-64 alone leaves it out of an
    environment for linux-64 and win-64; `left_out` names it.

    Args:
        template: what to choose from.
        torch: full version, `2.0.1`.
        platforms: all platforms the environment is locked for.
        source: where torch comes from.
        cuda: None for a CPU build.
    """
    chosen = _selected(template, torch=torch, platforms=platforms, source=source, cuda=cuda)
    return tuple(item.spec for item in chosen)


def left_out(
    template: Template,
    *,
    torch: str,
    platforms: Sequence[Platform],
    source: Source,
    cuda: CudaVersion | None,
) -> tuple[str, ...]:
    """Names of the packages that take no part, though the template has them for this source.

    The reasons are left to tell: too old a torch, no CUDA, a platform without it.
    """
    chosen = _selected(template, torch=torch, platforms=platforms, source=source, cuda=cuda)
    there = {_name(item) for item in chosen}
    offered = [item for item in template.packages if not item.sources or source in item.sources]
    return tuple(dict.fromkeys(_name(item) for item in offered if _name(item) not in there))


def _selected(
    template: Template,
    *,
    torch: str,
    platforms: Sequence[Platform],
    source: Source,
    cuda: CudaVersion | None,
) -> list[TemplatePackage]:
    return [
        item
        for item in template.packages
        if SpecifierSet(item.torch).contains(torch, prereleases=True)
        and (not item.platforms or set(platforms) <= set(item.platforms))
        and (not item.sources or source in item.sources)
        and (item.cuda is None or item.cuda == (cuda is not None))
    ]


def _name(item: TemplatePackage) -> str:
    return conda_spec.parse(item.spec).name
