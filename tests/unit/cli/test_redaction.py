"""What is private does not leave, however it is spelled; what explains the problem stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envforge.cli.redaction import Private, private_things, redact

ADA = Private(
    homes=("/home/ada", "/mnt/people/ada"),
    users=("ada",),
    hosts=("gpu-17.cluster.example.edu", "gpu-17"),
    secrets=("s3cr3t-value",),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # homes
        ("/home/ada/envs/x", "~/envs/x"),
        ("/home/ada", "~"),
        ("at /home/ada.", "at ~."),
        ("/home/adalbert/x", "~/x"),
        ("/mnt/people/ada/x", "~/x"),
        ("/home/bob/x and /Users/carol/x", "~/x and ~/x"),
        (r"C:\Users\Dave\x", r"~\x"),
        ("file:///home/ada/wheels", "file://~/wheels"),
        # users, as whole words
        ("/scratch/ada/run1", "/scratch/<user>/run1"),
        ("ADA's env ada_env ada-env", "<user>'s env <user>_env <user>-env"),
        ("canada, adaptive, nevada", "canada, adaptive, nevada"),
        ("owned by ada:ada", "owned by <user>:<user>"),
        # hosts
        ("on gpu-17.cluster.example.edu and gpu-17", "on <host> and <host>"),
        ("GPU-17", "<host>"),
        ("gpu-170", "gpu-170"),
        # e-mail
        ("ask ada@example.org or bob.b+c@x.co", "ask <email> or <email>"),
        ("git@github.com:x/y", "<email>:x/y"),
        # tokens
        ("s3cr3t-value", "<secret>"),
        ("hf_abcdefghijABCDEFGHIJ", "<secret>"),
        ("ghp_0123456789abcdefghij, github_pat_11AAAAAAA0_xyz", "<secret>, <secret>"),
        ("AKIAIOSFODNN7EXAMPLE", "<secret>"),
        ("glpat-abcdefghijkl xoxb-123456789-abc sk-proj-abcdefghijk", "<secret> <secret> <secret>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0.SflKxwRJSM", "<secret>"),
        ("Authorization: Bearer abc.def", "Authorization: <secret> <secret>"),
        ("curl -H 'bearer abcdef'", "curl -H 'bearer <secret>"),
        ("HF_TOKEN=abc MY_PASSWORD='a b' x=1", "HF_TOKEN=<secret> MY_PASSWORD=<secret> x=1"),
        ('{"api_key": "abc def", "n": 1}', '{"api_key": <secret>, "n": 1}'),
        ("--token abc --api-key=abc", "--token <secret> --api-key=<secret>"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+x", "AWS_SECRET_ACCESS_KEY=<secret>"),
        ("license key: ABCD-1234", "license key: <secret>"),
        # addresses
        ("https://ada:pw@mirror.corp/t/tk-1/conda", "https://<secret>@<host>/t/<secret>/conda"),
        ("https://conda.anaconda.org/t/tk-1/x", "https://conda.anaconda.org/t/<secret>/x"),
        ("https://user:pw@pypi.org/simple", "https://<secret>@pypi.org/simple"),
        ("https://pypi.org.evil.example/simple", "https://<host>/simple"),
        ("http://10.0.0.5:8080/simple", "http://<host>/simple"),
        (
            "https://s3.x.com/k?X-Amz-Signature=abc&sig=d",
            "https://<host>/k?X-Amz-Signature=<secret>&sig=<secret>",
        ),
        ("connect 10.0.0.5:29500, 192.168.1.7/24", "connect <address>:29500, <address>/24"),
        ("203.0.113.9 and 2001:db8::1 and fe80::1%eth0", "<address> and <address> and <address>"),
        ("MASTER_ADDR=10.1.2.3 [::1]:80", "MASTER_ADDR=<address> [<address>]:80"),
        ("aa:bb:cc:dd:ee:ff", "<mac>"),
        # devices
        ("GPU-1f2e3d4c-aaaa-bbbb-cccc-0123456789ab", "GPU-<uuid>"),
        ("MIG-1f2e3d4c-aaaa-bbbb-cccc-0123456789ab", "MIG-<uuid>"),
        ("MIG-GPU-1f2e3d4c-aaaa-bbbb-cccc-0123456789ab/1/0", "MIG-GPU-<uuid>"),
        ("Serial Number : 1650721012345", "Serial Number : <serial>"),
        ("id 1f2e3d4c-aaaa-bbbb-cccc-0123456789ab", "id <uuid>"),
    ],
)
def test_private_things_go(text: str, expected: str) -> None:
    assert redact(text, ADA) == expected
    assert redact(redact(text, ADA), ADA) == redact(text, ADA)


@pytest.mark.parametrize(
    "text",
    [
        "driver 535.104.05, runs CUDA 12.2 natively",
        "NVIDIA H100 80GB HBM3 (9.0), 80 GiB: kernel and matmul right",
        "libcublas 12.6.4.1 and nvidia-cudnn-cu12==9.10.2.21, libcurand-10.3.7.77-h0_0",
        "torch requires nvidia-cudnn-cu12==9.10.2.21, and nvidia-cudnn-cu12 is 9.0.0.70",
        "torch 2.7.1+cu126, cuDNN 9.10.2, NCCL 2.26.5, sm_90 compute_90",
        "at::ones c10::Error std::bad_alloc undefined symbol: _ZN3c105ErrorC2Ev",
        "0000:17:00.0 at 10:57:32",
        "pytorch/pytorch#119989; NVlabs/PWC-Net#138",
        "do: envforge create nlp-bert --torch 2.0.1 --cuda 11.8, or update the driver to 525.60.13",
        "https://conda.anaconda.org/conda-forge/linux-64 https://github.com/a/b/issues/1",
        "lib/python3.10/site-packages/torch/lib/libtorch_cuda.so: 10 bytes",
        "CUDA_VISIBLE_DEVICES=`0,5` names GPU 5, which does not exist",
        "NVIDIA_VISIBLE_DEVICES=all tokenizers 0.21.0, sentencepiece, tokenize.py",
        "tokenizers==0.21.0 TOKENIZERS_PARALLELISM=false secretstorage==3.3.3",
        "GLIBCXX_3.4.32 not found; libstdc++.so.6.0.30; sha256 0a1b2c3d4e5f",
        "hf_transfer 0.1.9, HF_HOME, sk-learn",
    ],
)
def test_what_explains_a_problem_stays(text: str) -> None:
    assert redact(text, ADA) == text


@pytest.mark.parametrize("word", ["root", "torch", "gpu", "a", "node"])
def test_an_account_that_is_an_ordinary_word_spoils_nothing(word: str) -> None:
    """`torch` is a user somewhere; the report must still be read."""
    private = Private(homes=(f"/home/{word}",), users=(word,), hosts=(word,))
    text = "error: a torch of a root node finds no gpu [no-usable-gpu]"
    assert redact(text, private) == text
    assert redact(f"/home/{word}/x", private) == "~/x"
    assert redact(f"{word}@elsewhere", private) == "<host>@elsewhere"


def test_what_is_private_is_read_from_the_variables() -> None:
    found = private_things(
        {
            "HOME": "/data/ada",
            "USER": "ada",
            "LOGNAME": "ada",
            "SUDO_USER": "bob",
            "HOSTNAME": "n1.site",
            "HF_TOKEN": "abcdef-1",
            "GITHUB_TOKEN": "short",
            "TOKENIZERS_PARALLELISM": "false!",
            "MY_API_KEY": "key-of-mine",
            "PATH": "/usr/bin",
        },
        home="/home/ada.l/",
        user="ada.l",
        host="n1.site.example",
    )
    assert found.homes == ("/home/ada.l/", "/data/ada")
    assert found.users == ("ada.l", "ada", "bob")
    assert found.hosts == ("n1.site.example", "n1.site", "n1")
    assert found.secrets == ("key-of-mine", "abcdef-1")


def test_nothing_is_known() -> None:
    """A container without a user, a name, and a home."""
    nobody = private_things({}, home="/", user="", host="")
    assert nobody == Private()
    assert redact("all /usr/bin is well", nobody) == "all /usr/bin is well"


_NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._+(*[", min_size=4, max_size=12)


@given(
    name=_NAMES, before=st.sampled_from([" ", "/", "=", ":", "(", "'"]), text=st.text(max_size=20)
)
def test_a_name_never_stays_as_a_word(name: str, before: str, text: str) -> None:
    """Whatever letters an account is made of, regular expressions included."""
    private = Private(homes=(f"/people/{name}",), users=(name,))
    redacted = redact(f"x{before}{name} /people/{name}/x {text}", private)
    head = redacted.partition("/x ")[0]
    ordinary = redact(f" {name} ", Private(users=(name,))) == f" {name} "
    assert ordinary or f"{before}{name} " not in head
    assert f"/people/{name}" not in head
