"""A model in one word, as it is typed: `[kind:]repo[@revision][:tokenizer-only]`.

bert-base-uncased   org/name@v1.0   dataset:org/name@main   gpt2:tokenizer-only
"""

from __future__ import annotations

import re
from typing import Final

from envforge.errors import InvalidValue
from envforge.model.models import MAIN, REPO_KINDS, TOKENIZER_ONLY, ModelRequest, Repo, RepoKind

_NAME: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_-])?"
_REPO: Final = re.compile(rf"(?:{_NAME}/)?{_NAME}")
"""huggingface_hub's own rule (`utils/_validators.py`); `--` parts the words of a cache folder."""
_ADDRESS: Final = re.compile(r"(?:https?://[^/]*|hf:/|(?:www\.)?(?:huggingface\.co|hf\.co))/")
_PAGE: Final = re.compile(r"/(?:tree|blob|resolve|raw|commit|commits)/([^/]+).*")
"""What follows the repository in an address of the hub's pages, and the revision in it."""
_OTHER_KINDS: Final = re.compile(r"(model|dataset|space)s(?:/|:|--)")
_REVISION_REFUSED: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.lock$|^-")
"""`git check-ref-format`: what no branch and no tag can hold."""


def parse(text: str) -> ModelRequest:
    """Read what was typed.

    Raises:
        InvalidValue: with what is wrong, and how a model is written.
    """
    try:
        return _parse(text)
    except InvalidValue as error:
        guess = meant(text)
        if guess:
            error.remedy = f"did you mean `{guess}`?"
        raise


def _parse(text: str) -> ModelRequest:
    kind, colon, rest = text.partition(":")
    if not colon or kind not in REPO_KINDS:
        kind, rest = "model", text
    if "://" in text:
        raise _invalid(text, "is an address, and no name of a repository")
    rest, colon, only = rest.partition(":")
    if colon and only != TOKENIZER_ONLY:
        raise _invalid(text, f"has `:{only}`, and only `:{TOKENIZER_ONLY}` can stand there")
    name, at, revision = rest.partition("@")
    if at and not revision:
        raise _invalid(text, "names no revision behind `@`")
    reason = repo_mistake(name) or (revision_mistake(revision) if at else "")
    if reason:
        raise _invalid(text, reason)
    return ModelRequest(
        repo=Repo(kind=_kind(kind), id=name),
        revision=revision or MAIN,
        only="tokenizer-only" if only else "",
    )


def repo_mistake(name: str) -> str:
    """What is wrong with the name of a repository; empty: nothing."""
    if not name:
        return "names no repository"
    if not _REPO.fullmatch(name) or "--" in name or ".." in name or name.endswith(".git"):
        return "is no repository: `name` or `org/name`, of letters, digits, `-`, `_` and `.`"
    return ""


def revision_mistake(revision: str) -> str:
    """What is wrong with the name of a branch, a tag or a commit; empty: nothing."""
    found = _REVISION_REFUSED.search(revision)
    if found or not revision:
        return f"has `{revision}` as a revision, which no branch, tag or commit can be"
    return ""


def show(request: ModelRequest) -> str:
    """The word that `parse` reads; patterns have no place in it."""
    revision = "" if request.revision == MAIN else f"@{request.revision}"
    only = f":{request.only}" if request.only else ""
    return f"{request.repo.shown}{revision}{only}"


def meant(text: str) -> str:
    """What somebody means who pastes a page's address or a cache's folder; empty: no idea."""
    text = re.sub(r"[?#].*", "", text.strip())
    text = _ADDRESS.sub("", text, count=1)
    kind, name = "", text
    if found := _OTHER_KINDS.match(text):
        kind, name = found[1], text[found.end() :].replace("--", "/")
    name, _, revision = name.rstrip("/@:").partition("@")
    if page := _PAGE.search(name):
        name, revision = name[: page.start()], page[1]
    name, _, label = name.partition(":")
    if label.startswith("token"):
        label = f":{TOKENIZER_ONLY}"
    elif label == "latest":  # of containers; here the newest is what a branch means
        label = ""
    elif label:
        label = f"@{label}"
    guess = f"{kind or 'model'}:{name}" + (f"@{revision}" if revision else "") + label
    try:
        return show(_parse(guess))
    except InvalidValue:
        return ""


def _kind(text: str) -> RepoKind:
    return next(kind for kind in REPO_KINDS if kind == text)


def _invalid(text: str, reason: str) -> InvalidValue:
    return InvalidValue(
        what="model",
        value=text,
        reason=reason,
        remedy=f"write `org/name`, `org/name@revision`, `dataset:org/name` or"
        f" `org/name:{TOKENIZER_ONLY}`",
    )
