"""Every variable that envforge sets has a reason and a source."""

from __future__ import annotations

from envforge.adapters.activation.activation_scripts import MACHINE_NAMES
from envforge.around.activation import presets
from envforge.around.activation.explained import explained
from envforge.model.activation import Choices


def test_all_that_we_set_is_explained() -> None:
    names = set(MACHINE_NAMES)
    for torch in ((2, 9), (2, 10)):
        chosen = Choices(allocator="shared-server", deterministic=True, threads="2")
        names |= set(presets.variables(chosen, torch, has_cuda=True))
    found = explained((name, "x", "s") for name in sorted(names))

    assert [item.name for item in found if not (item.why and item.documented)] == []


def test_the_last_one_counts_and_secrets_are_not_shown() -> None:
    found = explained(
        [
            ("A", "1", "a package"),
            ("HF_TOKEN", "hf_abc", "x"),
            ("A", "2", "environment.yml"),
            ("PIP_INDEX_URL", "https://u:pw@host/simple", "x"),
        ]
    )
    assert [(item.name, item.value, item.source) for item in found[:1]] == [
        ("A", "2", "environment.yml")
    ]
    assert "hf_abc" not in str(found)
    assert "pw" not in str(found)
    assert found[0].why == ""
