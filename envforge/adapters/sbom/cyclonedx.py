"""CycloneDX 1.6 as JSON, with cyclonedx-python-lib."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from envforge.adapters import sbom
from envforge.model.inventory import Inventory, Part
from envforge.version import __version__

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

_TYPES: Final = {
    "conda": "library",
    "pypi": "library",
    "model": "machine-learning-model",
    "dataset": "data",
    "space": "application",
    "file": "file",
}
_ALGORITHMS: Final = {"md5": "MD5", "sha256": "SHA-256"}


def render(inventory: Inventory, environment: Mapping[str, str]) -> str:
    """The document: equal inventories give equal bytes.

    Args:
        inventory: what is in it.
        environment: process environment; `SOURCE_DATE_EPOCH` in it becomes the time of the
            document, which has none otherwise.

    Raises:
        ToolMissing: cyclonedx-python-lib is not installed.
        InvalidValue: `SOURCE_DATE_EPOCH` is no number.
    """
    try:
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
    except ImportError as error:
        raise sbom.missing("cyclonedx-python-lib") from error
    stated = sbom.stated_time(environment)
    bom = _bom(inventory, stated or datetime.fromtimestamp(0, tz=timezone.utc))
    outputter = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    text: str = outputter.output_as_string(indent=2)
    if stated is not None:
        return text + "\n"
    document = json.loads(text)
    del document["metadata"]["timestamp"]  # the standard needs none, and a made-up one misleads
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _bom(inventory: Inventory, stated: datetime) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType

    root = Component(
        name=inventory.name,
        type=ComponentType.APPLICATION,
        bom_ref=f"environment:{inventory.name}",
        properties=[_property(key, value) for key, value in inventory.properties.items()],
    )
    tool = Component(name="envforge", type=ComponentType.APPLICATION, version=__version__)
    metadata = BomMetaData(component=root, timestamp=stated)
    metadata.tools.components.add(tool)
    components = {part.key: _component(part) for part in inventory.parts}
    bom = Bom(
        serial_number=sbom.identity(inventory), metadata=metadata, components=components.values()
    )
    bom.register_dependency(root, [components[key] for key in inventory.direct])
    for part in inventory.parts:
        bom.register_dependency(components[part.key], [components[key] for key in part.needs])
    return bom


def _component(part: Part) -> Component:
    from cyclonedx.model import (
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=part.name,
        version=part.version or None,
        type=ComponentType(_TYPES[part.kind]),
        bom_ref=part.key,
        purl=sbom.package_url(part),
        hashes=[
            HashType(alg=HashAlgorithm(_ALGORITHMS[name]), content=value)
            for name, value in part.hashes.items()
        ],
        external_references=[
            ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(part.url))
        ]
        if part.url
        else [],
        properties=list(_properties(part)),
        components=[_component(item) for item in part.parts],
    )


def _properties(part: Part) -> Iterator[Property]:
    if part.size is not None:
        yield _property("envforge:size", str(part.size))
    for platform in part.platforms:
        yield _property("envforge:platform", platform)


def _property(name: str, value: str) -> Property:
    from cyclonedx.model import Property

    return Property(name=name, value=value)
