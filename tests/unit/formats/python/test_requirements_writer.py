"""requirements.txt with hashes."""

from __future__ import annotations

from packaging.requirements import Requirement as Pep508

from envforge.formats.python import requirements_writer
from envforge.formats.python.requirements_writer import Requirement


def test_the_entries() -> None:
    text = requirements_writer.write(
        [
            Requirement(name="a", version="1.0", hashes=("0" * 64, "1" * 64)),
            Requirement(name="b", version="2", url="https://h/b-2-py3-none-any.whl"),
            Requirement(name="c", version="3", marker="os_name == 'nt'", hashes=("2" * 64,)),
        ],
        header=["for people", ""],
    )

    assert text.splitlines() == [
        "# for people",
        "#",
        "a==1.0 \\",
        f"    --hash=sha256:{'0' * 64} \\",
        f"    --hash=sha256:{'1' * 64}",
        "b @ https://h/b-2-py3-none-any.whl",
        "c==3 ; os_name == 'nt' \\",
        f"    --hash=sha256:{'2' * 64}",
    ]


def test_an_address_with_a_marker_is_a_requirement() -> None:
    entry = Requirement(
        name="b", version="2", url="https://h/b;2.whl", marker="sys_platform == 'linux'"
    )
    found = Pep508(requirements_writer.write([entry]).strip())

    assert found.url == "https://h/b;2.whl"
    assert str(found.marker) == 'sys_platform == "linux"'
