"""models.yml: the models that an environment uses, written by hand or by `--model`.

models:
  - bert-base-uncased
  - org/name@v1.0
  - repo: org/other
    revision: refs/pr/1
    allow: ['*.safetensors', '*.json']
    ignore: [onnx/]
  - {repo: org/data, kind: dataset}
  - {repo: gpt2, only: tokenizer-only}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from envforge.errors import InvalidFile, InvalidValue
from envforge.formats.conda import environment_text
from envforge.formats.models import model_spec
from envforge.formats.text import yaml_text
from envforge.formats.text.yaml_text import Mistakes, Node
from envforge.model.models import MAIN, REPO_KINDS, TOKENIZER_ONLY, ModelRequest, Repo, RepoKind

NEW: Final = """\
# Models that this environment uses. Edit, then run `envforge cache lock`.
models: []
"""
_KEYS: Final = ("repo", "kind", "revision", "allow", "ignore", "only")
_NO_MODELS: Final = "write `models: []` where there are none"
_WANTS_QUOTES: Final = "a pattern that begins with `*` needs quotes: `'*.json'`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsDocument:
    """The text of a models.yml and what it says; edits keep comments and order."""

    text: str
    path: str
    requests: tuple[ModelRequest, ...]
    """In the order of the file."""

    def with_request(self, request: ModelRequest) -> ModelsDocument:
        """Add an entry, or replace the one of the same repository and revision."""
        if request in self.requests:
            return self
        root = yaml_text.parse(self.text, self.path)
        listed = next(value for key, value in root.pairs if key.value == "models")
        if listed.flow and listed.items:
            expanded = environment_text.expand(self.text, listed, self.path)
            return read(expanded, self.path).with_request(request)
        same = [n for n, old in enumerate(self.requests) if _key(old) == _key(request)]
        if same:
            return read(_replace(self.text, listed.items[same[0]], request), self.path)
        return read(_insert(self.text, listed, request), self.path)


def read(text: str, path: str) -> ModelsDocument:
    """Read models.yml.

    Raises:
        InvalidFile: with every mistake, its line and column.
    """
    root = _parse(text, path)
    mistakes = Mistakes(path)
    fields = yaml_text.mapping(root, "the file", mistakes, ("models",))
    if "models" not in fields and root.kind == "map":
        mistakes.add(root, "`models` is missing")
    nodes = yaml_text.items(fields["models"], "`models`", mistakes) if "models" in fields else ()
    found = [(node, read_request(node, mistakes)) for node in nodes]
    requests = [(node, request) for node, request in found if request is not None]
    note_doubles(requests, mistakes)
    mistakes.raise_any()
    return ModelsDocument(text=text, path=path, requests=tuple(item for _, item in requests))


def _parse(text: str, path: str) -> Node:
    try:
        return yaml_text.parse(text, path)
    except InvalidFile as error:
        if re.search(r"^[^#]*[-\[,:]\s+\*|\[\*", text, re.MULTILINE) and "alias" in str(error):
            raise InvalidFile(path=path, mistakes=error.mistakes, remedy=_WANTS_QUOTES) from error
        if not re.search(r"^[^#\s]", text, re.MULTILINE):
            raise InvalidFile(path=path, mistakes=error.mistakes, remedy=_NO_MODELS) from error
        raise


def note_doubles(requests: Iterable[tuple[Node, ModelRequest]], mistakes: Mistakes) -> None:
    """Note entries of the same repository and revision."""
    first: dict[tuple[Repo, str], Node] = {}
    for node, request in requests:
        before = first.setdefault(_key(request), node)
        if before is not node:
            shown = f"{request.repo.shown}@{request.revision}"
            mistakes.add(node, f"`{shown}` stands here a second time (first in line {before.line})")


def read_request(node: Node, mistakes: Mistakes, also: tuple[str, ...] = ()) -> ModelRequest | None:
    """One entry: a word, or a mapping; `also` names keys that are read by somebody else."""
    if node.kind == "scalar":
        text = yaml_text.string(node, "a model", mistakes)
        return None if text is None else _word(node, text, mistakes)
    fields = yaml_text.mapping(node, "a model", mistakes, (*_KEYS, *also))
    if "repo" not in fields:
        if node.kind == "map":
            mistakes.add(node, "a model without `repo`")
        return None
    only = _only(fields.get("only"), mistakes)
    allow = _patterns(fields.get("allow"), "allow", mistakes)
    if only and "allow" in fields:
        mistakes.add(fields["allow"], f"`allow` and `only: {TOKENIZER_ONLY}` exclude each other")
    return ModelRequest(
        repo=Repo(
            kind=_kind(fields.get("kind"), mistakes),
            id=_checked(fields["repo"], "repo", model_spec.repo_mistake, mistakes),
        ),
        revision=_checked(fields["revision"], "revision", model_spec.revision_mistake, mistakes)
        if "revision" in fields
        else MAIN,
        allow=allow,
        ignore=_patterns(fields.get("ignore"), "ignore", mistakes),
        only="tokenizer-only" if only else "",
    )


def _word(node: Node, text: str, mistakes: Mistakes) -> ModelRequest | None:
    try:
        return model_spec.parse(text)
    except InvalidValue as error:
        guess = f"; {error.remedy}" if model_spec.meant(text) else ""
        mistakes.add(node, f"{error}{guess}")
        return None


def _checked(node: Node, key: str, mistake: Callable[[str], str], mistakes: Mistakes) -> str:
    text = yaml_text.string(node, f"`{key}`", mistakes)
    if text is not None and (wrong := mistake(text)):
        guess = model_spec.meant(text) if key == "repo" else ""
        mistakes.add(node, f"`{text}` {wrong}" + (f"; did you mean `{guess}`?" if guess else ""))
    return text or ""


def _kind(node: Node | None, mistakes: Mistakes) -> RepoKind:
    text = "model" if node is None else yaml_text.string(node, "`kind`", mistakes)
    found = next((kind for kind in REPO_KINDS if kind == text), None)
    if found is None and text is not None and node is not None:
        near = yaml_text.did_you_mean(text, REPO_KINDS) or f"; one of {', '.join(REPO_KINDS)}"
        mistakes.add(node, f"`{text}` is no kind of repository{near}")
    return found or "model"


def _only(node: Node | None, mistakes: Mistakes) -> bool:
    if node is None:
        return False
    text = yaml_text.string(node, "`only`", mistakes)
    if text is not None and text != TOKENIZER_ONLY:
        mistakes.add(node, f"`only` knows no `{text}`; it can be `{TOKENIZER_ONLY}`")
    return text == TOKENIZER_ONLY


def _patterns(node: Node | None, key: str, mistakes: Mistakes) -> tuple[str, ...]:
    """A list of patterns; one alone may stand without brackets."""
    if node is None:
        return ()
    if node.kind == "scalar":
        text = yaml_text.string(node, f"`{key}`", mistakes)
        return () if text is None else (text,)
    given = yaml_text.strings(node, f"`{key}`", mistakes)
    if node.kind == "list" and not node.items:
        mistakes.add(node, f"`{key}` is empty; leave it out to mean all files")
    for item, text in given:
        if not text:
            mistakes.add(item, f"an empty pattern in `{key}` matches no file")
    return tuple(text for _, text in given)


# --- writing --------------------------------------------------------------------------------


def entry(request: ModelRequest, indent: str = "  ") -> str:
    """The lines of one entry, without the dash; a word where it has no patterns."""
    if not (request.allow or request.ignore or request.only):
        return yaml_text.scalar(model_spec.show(request))
    lines = [f"repo: {yaml_text.scalar(request.repo.id)}", *fields_of(request)]
    return f"\n{indent}  ".join(lines)


def fields_of(request: ModelRequest) -> list[str]:
    """`key: value` of what was asked besides the repository; what goes without saying is not."""
    lines = []
    if request.repo.kind != "model":
        lines.append(f"kind: {request.repo.kind}")
    if request.revision != MAIN:
        lines.append(f"revision: {yaml_text.scalar(request.revision)}")
    if request.only:
        lines.append(f"only: {request.only}")
    for key, patterns in (("allow", request.allow), ("ignore", request.ignore)):
        if patterns:
            lines.append(f"{key}: [{', '.join(map(yaml_text.quoted, patterns))}]")
    return lines


def _key(request: ModelRequest) -> tuple[Repo, str]:
    return request.repo, request.revision


def _replace(text: str, node: Node, request: ModelRequest) -> str:
    column = node.column - 3
    return text[: node.start] + entry(request, " " * column) + text[_end(node) :]


def _insert(text: str, listed: Node, request: ModelRequest) -> str:
    if not listed.items:  # `models: []`
        head = text[: listed.start].rstrip(" ")
        return f"{head}\n  - {entry(request)}{text[listed.end :]}"
    last = listed.items[-1]
    end = environment_text.line_end(text, _end(last))
    indent = " " * (listed.items[0].column - 3)
    return f"{text[:end]}\n{indent}- {entry(request, indent)}{text[end:]}"


def _end(node: Node) -> int:
    """Behind the last character of what is written; the parser's end includes blank lines."""
    if node.kind == "scalar" or node.flow:
        return node.end
    return _end(node.pairs[-1][1] if node.kind == "map" else node.items[-1])
