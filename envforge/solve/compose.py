"""A request and the matrix's choice become environment.yml.

Which channels, which pins and in what order follows from where torch comes from. Why the
pytorch channel stands last, and its packages are asked for as `pytorch::…`: put first,
strict priority gives its old libjpeg-turbo to everybody, which has no solution with Python
3.12 and torchvision (pytorch/builder#1385 is the like); put last without the prefix,
conda-forge's CPU torch stands beside pytorch-cuda.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from envforge.formats.conda import conda_spec
from envforge.model.choice import Choice
from envforge.model.solving import without_credentials
from envforge.model.spec import HOST, Dependency, EnvironmentSpec, Request
from envforge.solve import wheel_names
from envforge.solve.wishes import Wishes

_TORCH_CHANNEL: Final = frozenset(
    {"pytorch", "pytorch-cuda", "cpuonly", "torchvision", "torchaudio", "torchtext", "torchdata"}
)
"""Packages that the pytorch channel is asked for by name."""
_COMPANIONS: Final = ("torchvision", "torchaudio", "torchtext")
_TOOLKITS_OF_NVIDIA: Final = frozenset({"11.1", "11.3"})
"""cudatoolkit of these is taken from the channel that PyTorch built against (PyTorch, "Previous
versions": `-c nvidia`); the others from conda-forge, as the same page says for 11.6."""


def compose(
    request: Request,
    choice: Choice,
    template_packages: tuple[str, ...],
    name: str,
    *,
    variables: Mapping[str, str] | None = None,
    host_python: str | None = None,
) -> EnvironmentSpec:
    """Write down what is asked for.

    Args:
        request: `--with`, `--channel` and `--platform` are taken from it.
        choice: torch, CUDA, Python and source.
        template_packages: conda specs; what a person gave by `--with` replaces them.
        name: the folder's, `nlp-bert-torch20-cu118`.
        variables: of the template.
        host_python: full version of the interpreter where `choice.python` is `host`.

    Raises:
        InvalidValue: a package asked for contradicts the request or another one.
    """
    wishes = Wishes(choice=choice)
    for dependency in _pins(request, choice, host_python):
        wishes.pin(dependency)
    for text in request.packages:
        wishes.add(conda_spec.parse(text), given_as=text)
    for text in template_packages:
        wishes.suggest(conda_spec.parse(text))
    dependencies = [finished(item, choice) for item in wishes.dependencies()]
    return EnvironmentSpec(
        name=name,
        channels=_channels(request, choice),
        dependencies=tuple(dependencies),
        platforms=request.platforms,
        variables=dict(variables or {}),
    )


def dependency(text: str, choice: Choice) -> Dependency:
    """A package that is added later, as `compose` would have written it.

    Raises:
        InvalidValue: a spec that cannot be read, or a name that has no wheel.
    """
    return finished(conda_spec.parse(text), choice)


def finished(item: Dependency, choice: Choice) -> Dependency:
    """A line as it is written for a torch.

    Companions get their official version, torch's packages their channel, wheels their names.

    Raises:
        InvalidValue: a name or range that no wheel has.
    """
    if choice.source == "wheels":
        return _as_wheel(item, choice)
    if choice.source == "pytorch" and item.name in _TORCH_CHANNEL and item.channel is None:
        item = replace(item, channel="pytorch")
    official = choice.companions.get(item.name) if item.name in _COMPANIONS else None
    if official and not item.version and item.channel == "pytorch":
        # conda-forge keeps no official pairs: there each build names the torch it fits.
        return replace(item, version=f"={official}")
    return item


def _channels(request: Request, choice: Choice) -> tuple[str, ...]:
    own: tuple[str, ...] = ("conda-forge",)
    if choice.source == "pytorch":
        own = ("nvidia", "conda-forge", "pytorch") if choice.cuda else ("conda-forge", "pytorch")
    if choice.python == HOST:
        own = ()
    given = tuple(
        item if "$" in item else without_credentials(item)  # a variable's name is no secret
        for item in request.channels
    )
    tail = () if "defaults" in given else ("nodefaults",)
    return tuple(dict.fromkeys((*given, *own, *tail)))


def _pins(request: Request, choice: Choice, host_python: str | None) -> Iterator[Dependency]:
    """Python, torch and what chooses its CUDA: the lines that make the name true."""
    yield Dependency(
        name="python",
        version=f"={host_python}" if choice.python == HOST else f"={choice.python}",
    )
    if choice.source == "wheels":
        # An interpreter of this machine comes alone, so pip is a wheel there.
        yield Dependency(name="pip", manager="pip" if choice.python == HOST else "conda")
        yield Dependency(name="torch", version=f"=={choice.torch}", manager="pip")
        return
    yield Dependency(name="pytorch", version=f"={choice.torch}", build=_build(request, choice))
    if choice.cuda is not None and choice.metapackage is not None:
        yield Dependency(
            name=choice.metapackage,
            version=f"={choice.cuda}",
            channel=_toolkit_channel(choice),
        )
    if choice.cuda is None and choice.source == "pytorch":
        yield Dependency(name="cpuonly")


def _build(request: Request, choice: Choice) -> str:
    """The part of the build string that names the accelerator.

    On macOS the pytorch channel's builds name none, and there is only one kind.
    """
    if choice.source == "pytorch":
        if choice.cuda is None:
            return "" if "osx-arm64" in request.platforms else "*cpu*"
        return f"*cuda{choice.cuda}*"
    return f"*cuda{choice.cuda.major}{choice.cuda.minor}*" if choice.cuda else "cpu*"


def _toolkit_channel(choice: Choice) -> str | None:
    if choice.source != "pytorch" or choice.metapackage != "cudatoolkit":
        return None
    return "nvidia" if str(choice.cuda) in _TOOLKITS_OF_NVIDIA else "conda-forge"


def _as_wheel(item: Dependency, choice: Choice) -> Dependency:
    if item.manager == "pip" or item.name in {"python", "pip"}:
        return item
    requirement = wheel_names.wheel_requirement(item)
    wheel = conda_spec.parse_pip(requirement)
    official = choice.companions.get(wheel.name) if wheel.name in _COMPANIONS else None
    return replace(wheel, version=f"=={official}") if official and not wheel.version else wheel
