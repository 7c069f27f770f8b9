"""How a proof looks, in text and as JSON."""

from __future__ import annotations

import json

import pytest

from envforge.cli.rendering import render_proof
from envforge.model.models import Repo
from envforge.model.proof import LoadProof, LoadRun, ProvenFile

RUN = LoadRun(cold=True, status=0, seconds=9.5, load_seconds=1.25, loader="transformers.AutoModel")


def file(path: str, size: int, **about: object) -> ProvenFile:
    given = {"origin": "hardlink", "inode": 41, "opened": True, **about}
    return ProvenFile(path=path, size=size, sha256="a" * 64, **given)  # type: ignore[arg-type]


def proof(**about: object) -> LoadProof:
    given: dict[str, object] = {
        "environment": "nlp",
        "repo": Repo(id="org/name"),
        "revision": "main",
        "commit": "c" * 40,
        "store": "/store",
        "view": "/store/views/env/me/nlp",
        "command": (),
        "files": (file("config.json", 600), file("model.safetensors", 4 * 10**8, mapped=True)),
        "runs": (RUN, LoadRun(cold=False, status=0, seconds=5.0, load_seconds=0.25)),
    }
    return LoadProof(**{**given, **about})  # type: ignore[arg-type]


def shown(capsys: pytest.CaptureFixture[str], **about: object) -> str:
    render_proof.show(proof(**about))
    return capsys.readouterr().out


def test_a_proof_says_where_from_and_how_fast(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == (
        "proven org/name@main (ccccccc) in nlp\n"
        "  store  /store\n"
        "  view   /store/views/env/me/nlp\n"
        "  calls  none\n"
        "\n"
        "        LOAD    WHOLE PROGRAM  BY\n"
        "  cold  1.25 s  9.50 s         transformers.AutoModel\n"
        "  warm  0.25 s  5.00 s         CMD\n"
        "\n"
        "  FILE               SIZE      FROM   INODE  READ\n"
        "  model.safetensors  400.0 MB  store  41     mapped\n"
        "  config.json        600 B     store  41     yes\n"
    )


def test_problems_come_first_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(
        capsys, problems=(("the view lacks `a`", "envforge cache prefill nlp"), ("b", None))
    ).splitlines()

    assert lines[:4] == [
        "NOT PROVEN org/name@main (ccccccc) in nlp",
        "error: the view lacks `a`",
        "  do: envforge cache prefill nlp",
        "error: b",
    ]


def test_a_first_run_with_bytes_in_memory_is_not_called_cold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = LoadRun(cold=False, status=0, seconds=1.0, load_seconds=None)

    assert "  as it was  -     1.00 s" in shown(capsys, runs=(run,))


def test_what_a_view_lacks_or_copies_is_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    files = (
        file("a", 3, origin="missing", inode=None, opened=False),
        file("b", 2, origin="copy"),
        file("c", 1, origin="elsewhere"),
    )

    rows = [line.split() for line in shown(capsys, files=files).splitlines()[-3:]]

    assert rows[0] == ["a", "3", "B", "MISSING", "-", "no"]
    assert rows[1] == ["b", "2", "B", "store", "(copy)", "41", "yes"]
    assert rows[2] == ["c", "1", "B", "ELSEWHERE", "41", "yes"]


def test_of_many_files_the_largest_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    files = tuple(file(f"part-{n}", n) for n in range(35))

    text = shown(capsys, files=files)

    assert "part-34" in text
    assert "part-4 " not in text
    assert text.endswith("and 5 smaller ones: --json lists them\n")


def test_names_that_would_move_a_cursor_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in shown(capsys, files=(file("a\x1b[2Jb", 1),))


def test_the_document_holds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    document = render_proof.document(proof(problems=(("why", None),)))

    assert json.loads(json.dumps(document)) == document
    assert document["passed"] is False
    assert document["problems"] == [{"message": "why", "remedy": None}]
    assert document["runs"][0]["loader"] == "transformers.AutoModel"
    assert {item["path"] for item in document["files"]} == {"config.json", "model.safetensors"}
