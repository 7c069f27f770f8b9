"""`templates/environments/NAME.yml`: an environment to start from.

    description: image models with torchvision
    packages:
      - torchvision
      - {spec: timm >=0.9, torch: ">=1.13"}
    variables:
      NAME: value

An item of `packages` is a conda spec, or a mapping with `spec` and the conditions under
which it takes part: `torch` (PEP 440), `platforms`, `sources`, `cuda`.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envforge.errors import EnvforgeError
from envforge.formats.conda import conda_spec
from envforge.formats.text.yaml_text import (
    Mistakes,
    Node,
    described,
    did_you_mean,
    items,
    mapping,
    parse,
    string,
    strings,
)
from envforge.model.machine import PLATFORMS
from envforge.model.spec import Source
from envforge.model.template import Template, TemplatePackage

_KEYS: Final = ("description", "packages", "variables")
_PACKAGE_KEYS: Final = ("spec", "torch", "platforms", "sources", "cuda")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read(text: str, path: str) -> Template:
    """Read a template; its name is the file's.

    Raises:
        InvalidFile: every mistake at once, each with its line.
    """
    mistakes = Mistakes(path)
    root = parse(text, path)
    values = mapping(root, "the file", mistakes, known=_KEYS)
    description = packages = None
    if root.kind == "map":
        description = _required(values, "description", root, mistakes)
        packages = _required(values, "packages", root, mistakes)
    template = Template(
        name=PurePath(path).stem,
        description=string(description, "`description`", mistakes) or "" if description else "",
        packages=_packages(packages, mistakes) if packages else (),
        variables=_variables(values.get("variables"), mistakes),
    )
    mistakes.raise_any()
    return template


def _required(values: dict[str, Node], key: str, root: Node, mistakes: Mistakes) -> Node | None:
    if key not in values:
        mistakes.add(root, f"`{key}` is missing")
    return values.get(key)


def _packages(node: Node, mistakes: Mistakes) -> tuple[TemplatePackage, ...]:
    read_items = [_package(item, mistakes) for item in items(node, "`packages`", mistakes)]
    if node.kind == "list" and not node.items:
        mistakes.add(node, "`packages` is empty")
    return tuple(item for item in read_items if item is not None)


def _package(node: Node, mistakes: Mistakes) -> TemplatePackage | None:
    if node.kind == "scalar":
        spec = _spec(node, mistakes)
        return TemplatePackage(spec=spec) if spec else None
    values = mapping(node, "a package", mistakes, known=_PACKAGE_KEYS)
    if node.kind == "map" and "spec" not in values:
        mistakes.add(node, "a package without `spec`")
    spec = _spec(values["spec"], mistakes) if "spec" in values else None
    torch = _torch(values.get("torch"), mistakes)
    platforms = _some_of(values.get("platforms"), "platforms", PLATFORMS, mistakes)
    sources = _some_of(values.get("sources"), "sources", get_args(Source), mistakes)
    cuda = _flag(values.get("cuda"), "`cuda`", mistakes)
    if spec is None:
        return None
    return TemplatePackage(spec=spec, torch=torch, platforms=platforms, sources=sources, cuda=cuda)


def _spec(node: Node, mistakes: Mistakes) -> str | None:
    text = string(node, "a package", mistakes)
    if text is None:
        return None
    try:
        conda_spec.parse(text)
    except EnvforgeError as error:
        mistakes.add(node, str(error))
        return None
    return text


def _torch(node: Node | None, mistakes: Mistakes) -> str:
    text = string(node, "`torch`", mistakes) if node else None
    try:
        SpecifierSet(text or "")
    except InvalidSpecifier:
        assert node is not None  # noqa: S101 - the empty one is valid
        mistakes.add(node, f"`{text}` is not a version range such as `>=2.1,<2.4`")
        return ""
    return text or ""


def _some_of(
    node: Node | None, key: str, known: tuple[str, ...], mistakes: Mistakes
) -> tuple[str, ...]:
    if node is None:
        return ()
    given = strings(node, f"`{key}`", mistakes)
    if node.kind == "list" and not node.items:
        mistakes.add(node, f"`{key}` is empty; leave it out to mean all")
    for item, text in given:
        if text not in known:
            near = did_you_mean(text, known) or f"; one of {', '.join(known)}"
            mistakes.add(item, f"`{key}` knows no `{text}`{near}")
    return tuple(text for _, text in given)


def _flag(node: Node | None, what: str, mistakes: Mistakes) -> bool | None:
    if node is None:
        return None
    if node.kind == "scalar" and not node.quote and node.value in {"true", "false"}:
        return node.value == "true"
    mistakes.add(node, f"{what} is {described(node)}, and should be `true` or `false`")
    return None


def _variables(node: Node | None, mistakes: Mistakes) -> dict[str, str]:
    if node is None:
        return {}
    found: dict[str, str] = {}
    for name, value in mapping(node, "`variables`", mistakes).items():
        if not _VARIABLE.fullmatch(name):
            mistakes.add(value, f"`{name}` is no name of an environment variable")
        text = string(value, f"`{name}`", mistakes)
        found[name] = text or ""
    return found
