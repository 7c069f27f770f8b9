"""Reads what packages beside torch say they were built for; nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from envforge.formats.text import json_text
from envforge.verify.facts import CompanionBuild, CompanionFacts

_VERSION_FILES: Final = ("torchvision", "torchaudio", "torchtext")
_ASSIGNED: Final = re.compile(
    r"^(?P<name>__version__|cuda)\s*(?::[^=\n]+)?=\s*(?P<value>None|'[^'\n]*'|\"[^\"\n]*\")",
    re.MULTILINE,
)
_AT_RUNTIME: Final = re.compile(r"pkgs_to_check_at_runtime\s*=\s*(\[[^\]]*\]|\"[^\"]*\"\.split)")
_LARGEST: Final = 1 << 20
"""Bytes; these files have a few thousand."""


def read_companions(site: Path) -> CompanionFacts:
    """What the packages in a site-packages folder tell; quick, never raises."""
    found = _Found(site)
    for package in _VERSION_FILES:
        found.version_file(package)
    found.xformers()
    return CompanionFacts(
        builds=tuple(found.builds),
        bitsandbytes=_bitsandbytes(site / "bitsandbytes"),
        checked_at_import=tuple(found.checked_by_transformers()),
        unreadable=tuple(found.unreadable),
    )


@dataclass(slots=True)
class _Found:
    site: Path
    builds: list[CompanionBuild] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def version_file(self, package: str) -> None:
        """`cuda` and the local part of `__version__` in the version.py of torch's own domains."""
        witness = f"{package}/version.py"
        text = self._text(witness)
        if text is None:
            return
        values = {item["name"]: item["value"].strip("'\"") for item in _ASSIGNED.finditer(text)}
        cuda = values.get("cuda")
        label = values.get("__version__", "").partition("+")[2]
        has_label = re.fullmatch(r"cu(\d+)(\d)", label)
        if cuda and cuda != "None":
            self._add(package, witness, cuda=cuda)
        elif has_label:
            self._add(package, witness, cuda=f"{has_label[1]}.{has_label[2]}")
        elif label == "cpu":
            self._add(package, witness, is_cpu=True)

    def xformers(self) -> None:
        """`cpp_lib.json`: `{"version": {"cuda": 1201, "torch": "2.1.2+cu121", …}}`."""
        witness = "xformers/cpp_lib.json"
        text = self._text(witness)
        if text is None:
            return
        try:
            version = json_text.parse(text)["version"]
            torch, cuda = version.get("torch"), version.get("cuda")
        except (ValueError, KeyError, TypeError, AttributeError):
            self.unreadable.append(witness)
            return
        number = cuda if isinstance(cuda, int) else None
        self._add(
            "xformers",
            witness,
            torch=str(torch) if torch else None,
            cuda=f"{number // 100}.{number % 100}" if number else None,
            is_cpu=number is None and "torch" in version,
        )

    def checked_by_transformers(self) -> Iterator[tuple[str, str]]:
        """Its own table of versions, as far as it enforces it at import."""
        table = self._text("transformers/dependency_versions_table.py")
        check = self._text("transformers/dependency_versions_check.py")
        if table is None or check is None:
            return
        deps, names = _literal_deps(table), _AT_RUNTIME.search(check)
        if deps is None or names is None:
            self.unreadable.append("transformers/dependency_versions_table.py")
            return
        for name in re.findall(r"[\w.-]+", names[1]):
            if name in deps and name != "python":
                yield "transformers", deps[name]

    def _add(self, package: str, witness: str, **told: Any) -> None:
        self.builds.append(CompanionBuild(package=package, witness=witness, **told))

    def _text(self, path: str) -> str | None:
        """None: not there, or not readable, which is kept."""
        try:
            with (self.site / path).open("rb") as stream:
                return stream.read(_LARGEST).decode("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError):
            self.unreadable.append(path)
            return None


def _literal_deps(source: str) -> dict[str, str] | None:
    """The dictionary that the table assigns, without running it."""
    try:
        statements = ast.parse(source).body
        for item in statements:
            if isinstance(item, ast.Assign) and isinstance(item.value, ast.Dict):
                found = ast.literal_eval(item.value)
                return {str(key): str(value) for key, value in found.items()}
    except (SyntaxError, ValueError, RecursionError):
        return None
    return None


def _bitsandbytes(folder: Path) -> tuple[str, ...] | None:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return None
    return tuple(name for name in names if name.startswith("libbitsandbytes_"))
