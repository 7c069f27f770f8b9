"""Bills of materials, written with the libraries that the two standards' own people maintain."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from envforge.errors import InvalidValue, ToolMissing
from envforge.model.inventory import Inventory, Part

if TYPE_CHECKING:
    from packageurl import PackageURL

REMEDY: Final = "pip install 'envforge[sbom]'"
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/envforge/envforge/sbom")
_EPOCH: Final = "SOURCE_DATE_EPOCH"


def missing(tool: str) -> ToolMissing:
    """The error for a library that is not installed."""
    return ToolMissing(tool=tool, needed_for="bills of materials", remedy=REMEDY)


def identity(inventory: Inventory) -> uuid.UUID:
    """A UUID that hangs on the content alone."""
    return uuid.uuid5(_NAMESPACE, inventory.digest)


def stated_time(environment: Mapping[str, str]) -> datetime | None:
    """What `SOURCE_DATE_EPOCH` says (reproducible-builds.org); None: nothing, and no clock counts.

    Raises:
        InvalidValue: it is no number of seconds.
    """
    text = environment.get(_EPOCH, "")
    if not text:
        return None
    try:
        return datetime.fromtimestamp(int(text), tz=timezone.utc)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidValue(
            what=_EPOCH, value=text, reason="is no number of seconds since 1970"
        ) from error


def package_url(part: Part) -> PackageURL | None:
    """Its package URL; None: files have none, and datasets and spaces no type in the standard."""
    from packageurl import PackageURL

    if part.kind == "model":
        owner, _, name = part.name.rpartition("/")
        return PackageURL("huggingface", owner or None, name, part.version)
    if part.kind in {"conda", "pypi"}:
        return PackageURL(
            part.kind, None, part.name, part.version, qualifiers=dict(part.qualifiers)
        )
    return None
