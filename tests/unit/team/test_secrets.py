"""Secrets in files that are committed."""

from __future__ import annotations

import pytest

from envforge.team.secrets import in_address, in_text, in_variables

HF = "hf_abcdefghijklmnopqrst"


@pytest.mark.parametrize(
    "address",
    [
        "https://user:word@host/conda-forge/linux-64/a-1-0.conda",
        "https://token@host/conda-forge",
        "https://host/t/tk-1234/channel/linux-64/a-1-0.conda",
        "https://bucket.example/a.whl?X-Amz-Signature=0a1b",
        "https://host/a.whl?token=abc",
        f"https://host/a.whl?x={HF}",
    ],
)
def test_addresses_with_a_secret(address: str) -> None:
    assert in_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://conda.anaconda.org/conda-forge/linux-64/numpy-1-0.conda",
        "https://${USER}:${PASSWORD}@host/channel",
        "https://host/t/$TOKEN/channel",
        "https://host/t/${TOKEN}/channel",
        "https://host/a%2Bcu118.whl?download=1",
    ],
)
def test_addresses_without(address: str) -> None:
    assert not in_address(address)


def test_a_line_is_told_without_what_it_holds() -> None:
    text = f"name: x\nvariables:\n  A: {HF}\n"
    assert list(in_text(text)) == [(3, "A: <secret>")]


@pytest.mark.parametrize(
    "token",
    [
        "ghp_abcdefgh12345678",
        "glpat-abcdefgh1234",
        "AKIAABCDEFGHIJKLMNOP",
        "xoxb-123456789012",
        "-----BEGIN RSA PRIVATE KEY-----",
    ],
)
def test_tokens_by_their_shape(token: str) -> None:
    [(number, line)] = in_text(f"# {token}")
    assert number == 1
    assert token not in line


def test_an_ordinary_environment_holds_none() -> None:
    text = """\
name: nlp-bert-torch20-cu118
channels: [nvidia, conda-forge, pytorch]
dependencies:
  - tokenizers=0.19
  - secretstorage=3.3  # asked: any
  - pip:
      - torch @ https://download.pytorch.org/whl/cu118/torch-2.0.1%2Bcu118.whl#sha256=aa
"""
    assert list(in_text(text)) == []


def test_variables_that_say_what_they_are() -> None:
    variables = {
        "HF_TOKEN": "x",
        "WANDB_API_KEY": "$WANDB_API_KEY",
        "AWS_SECRET_ACCESS_KEY": "",
        "TOKENIZERS_PARALLELISM": "false",
        "DB_PASSWORD": "pw",
    }
    assert in_variables(variables) == ("HF_TOKEN", "DB_PASSWORD")
