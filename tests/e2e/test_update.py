"""`envforge update`, as a person types it, and what follows from it."""

from __future__ import annotations

from e2e.world import Place, World


def test_another_torch_beside_the_old_one(place: Place, world: World) -> None:
    """From the pytorch channel to conda-forge's; the old environment stays as it was."""
    old, new = world.pytorch_cuda, world.forge_cuda
    name = place.created(old, "nlp", "--with", "greeter=1.2", "--force")
    before = {key: value for key, value in place.tree().items() if key.startswith(f"envs/{name}/")}
    options = ("--torch", new.version, "--cuda", str(new.cuda))

    planned = place.good("update", name, *options, "--dry-run")
    assert not (place.envs / new.name("nlp")).exists()
    done = place.good("update", name, *options)
    assert done.out.startswith(f"{name} -> {new.name('nlp')}\n")
    assert planned.out.splitlines()[1:-3] == done.out.splitlines()[1:-4]
    assert f"torch   {old.version} -> {new.version}" in done.out
    assert done.out.endswith(f"next: envforge install {new.name('nlp')}\n")
    assert before.items() <= place.tree().items()

    place.good("install", new.name("nlp"), "--force")
    ran = place.good(
        "run", new.name("nlp"), "--", "python", "-c", "import torch; print(torch.__version__)"
    )
    assert ran.out.strip() == new.version
    again = place.run("update", name, *options)
    assert (again.status, again.out) == (2, "")
    assert f"`envforge update {new.name('nlp')}`" in again.err


def test_one_package_and_the_install_that_follows(place: Place, world: World) -> None:
    name = place.created(world.pytorch_cpu, "p", "--with", "greeter<1.3")
    held = place.run("update", name, "greeter", "--max-moves", "0")
    assert held.status == 0
    assert "stays at" in held.err
    done = place.good("update", name, "greeter=1.3", "--json").json
    moves = {item["name"]: (item["from"], item["to"]) for item in done["difference"]["moves"]}

    assert done["others"] == []
    assert list(moves) == ["greeter"]
    installed = place.good("install", name)
    assert "1 change" in installed.out
