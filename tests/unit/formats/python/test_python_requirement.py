"""What distributions require."""

from __future__ import annotations

from envforge.formats.python import python_requirement


def test_requirements_are_names_with_ranges_apart_by_marker() -> None:
    always, sometimes = python_requirement.depends(
        (
            "Typing_Extensions>=4.8.0",
            "numpy (<2,>=1.21)",
            "jmespath <2.0.0, >=0.7.1",
            "sympy",
            "triton==3.3.1; platform_system == 'Linux'",
            "pytest ; extra == 'test'",
            "own @ https://files.example/own-1-py3-none-any.whl",
            "trimesh[easy] >=3.11.2",
            "!",
        )
    )

    assert always == (
        "jmespath <2.0.0,>=0.7.1",
        "numpy <2,>=1.21",
        "own",
        "sympy",
        "trimesh >=3.11.2",
        "typing-extensions >=4.8.0",
    )
    assert sometimes == ("triton ==3.3.1",)
