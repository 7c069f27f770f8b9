"""SPDX 2.3 as JSON, with spdx-tools.

Files of models are packages here: an SPDX file must state a SHA-1 of its bytes, and a hub tells
none (git's SHA-1 is over a header and the bytes).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from envforge.adapters import sbom
from envforge.model.inventory import Inventory, Part
from envforge.version import __version__

if TYPE_CHECKING:
    from spdx_tools.spdx.model.checksum import Checksum
    from spdx_tools.spdx.model.document import CreationInfo, Document
    from spdx_tools.spdx.model.package import ExternalPackageRef, Package
    from spdx_tools.spdx.model.relationship import Relationship

_DOCUMENT: Final = "SPDXRef-DOCUMENT"
_ROOT: Final = "SPDXRef-environment"
_PURPOSES: Final = {
    "conda": "LIBRARY",
    "pypi": "LIBRARY",
    "model": "OTHER",
    "dataset": "OTHER",
    "space": "APPLICATION",
    "file": "FILE",
}
_NO_TIME: Final = (
    "`created` is required, and no clock is asked, so that equal environments give equal"
    " documents: it is SOURCE_DATE_EPOCH, or 1970 where that is not set."
)


def render(inventory: Inventory, environment: Mapping[str, str]) -> str:
    """The document: equal inventories give equal bytes.

    Args:
        inventory: what is in it.
        environment: process environment; `SOURCE_DATE_EPOCH` in it becomes `created`.

    Raises:
        ToolMissing: spdx-tools is not installed.
        InvalidValue: `SOURCE_DATE_EPOCH` is no number.
    """
    created = sbom.stated_time(environment) or datetime.fromtimestamp(0, tz=timezone.utc)
    try:
        from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
    except ImportError as error:
        raise sbom.missing("spdx-tools") from error
    converter: Any = DocumentConverter  # its methods have no types
    converted = converter().convert(document(inventory, created))
    return json.dumps(converted, indent=2, ensure_ascii=False) + "\n"


def document(inventory: Inventory, created: datetime) -> Document:
    """The document as spdx-tools has it, which can be validated and written in other syntaxes."""
    from spdx_tools.spdx.model.document import Document

    ids = dict(_ids(inventory.parts))
    return Document(
        creation_info=_creation(inventory, created),
        packages=[_root(inventory), *_packages(inventory.parts, ids)],
        relationships=list(_relationships(inventory, ids)),
    )


def _creation(inventory: Inventory, created: datetime) -> CreationInfo:
    from spdx_tools.spdx.model.actor import Actor, ActorType
    from spdx_tools.spdx.model.document import CreationInfo

    return CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=inventory.name,
        document_namespace=(
            f"https://spdx.org/spdxdocs/{inventory.name}-{sbom.identity(inventory)}"
        ),
        creators=[Actor(ActorType.TOOL, f"envforge-{__version__}")],
        # spdx-tools writes the zone as `Z`, and refuses a datetime that has one
        created=created.replace(tzinfo=None),
        document_comment=_NO_TIME,
    )


def _ids(parts: tuple[Part, ...]) -> Iterator[tuple[str, str]]:
    """An SPDX id for each key: readable, and unique by its number."""
    for number, part in enumerate(parts, start=1):
        word = re.sub(r"[^A-Za-z0-9.]+", "-", part.name).strip("-")
        yield part.key, f"SPDXRef-{part.kind}-{word}-{number}"
        for index, item in enumerate(part.parts, start=1):
            yield item.key, f"SPDXRef-file-{number}-{index}"


def _root(inventory: Inventory) -> Package:
    from spdx_tools.spdx.model.package import Package, PackagePurpose
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    facts = "; ".join(f"{key} {value}" for key, value in inventory.properties.items())
    return Package(
        spdx_id=_ROOT,
        name=inventory.name,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        comment=facts or None,
        primary_package_purpose=PackagePurpose.APPLICATION,
    )


def _packages(parts: tuple[Part, ...], ids: Mapping[str, str]) -> Iterator[Package]:
    for part in parts:
        yield _package(part, ids[part.key])
        for item in part.parts:
            yield _package(item, ids[item.key])


def _package(part: Part, spdx_id: str) -> Package:
    from spdx_tools.spdx.model.package import Package, PackagePurpose
    from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion

    return Package(
        spdx_id=spdx_id,
        name=part.name,
        version=part.version or None,
        download_location=part.url or SpdxNoAssertion(),
        file_name=part.url.rpartition("/")[2] if part.kind in {"conda", "pypi"} else None,
        files_analyzed=False,
        checksums=[_checksum(name, value) for name, value in sorted(part.hashes.items())],
        license_concluded=SpdxNoAssertion(),
        license_declared=SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        comment=f"for {', '.join(part.platforms)}" if part.platforms else None,
        external_references=list(_references(part)),
        primary_package_purpose=PackagePurpose[_PURPOSES[part.kind]],
    )


def _checksum(name: str, value: str) -> Checksum:
    from spdx_tools.spdx.model.checksum import Checksum, ChecksumAlgorithm

    return Checksum(ChecksumAlgorithm[name.upper()], value)


def _references(part: Part) -> Iterator[ExternalPackageRef]:
    from spdx_tools.spdx.model.package import ExternalPackageRef, ExternalPackageRefCategory

    purl = sbom.package_url(part)
    if purl is not None:
        yield ExternalPackageRef(
            ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl.to_string()
        )


def _relationships(inventory: Inventory, ids: Mapping[str, str]) -> Iterator[Relationship]:
    from spdx_tools.spdx.model.relationship import Relationship, RelationshipType

    yield Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _ROOT)
    for key in inventory.direct:
        yield Relationship(_ROOT, RelationshipType.DEPENDS_ON, ids[key])
    for part in inventory.parts:
        yield Relationship(_ROOT, RelationshipType.CONTAINS, ids[part.key])
        for key in part.needs:
            yield Relationship(ids[part.key], RelationshipType.DEPENDS_ON, ids[key])
        for item in part.parts:
            yield Relationship(ids[part.key], RelationshipType.CONTAINS, ids[item.key])
