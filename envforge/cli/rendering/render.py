"""Answers as text and as JSON. With `render_report`, the only place that knows how they look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from envforge.cli.rendering.shown import size as size  # noqa: PLC0414
from envforge.model.changes import describe_changes
from envforge.model.cuda import accelerator_name
from envforge.model.fetching import Prefilled
from envforge.model.lock import Lock, Target
from envforge.model.prefix import InstallPlan, InstallResult, PrefixState
from envforge.model.results import (
    CreateResult,
    EnvironmentInfo,
    LockResult,
    ModelsResult,
    PlannedInstall,
)
from envforge.model.wording import counted

if TYPE_CHECKING:
    from envforge.model.template import Template


# --- documents ------------------------------------------------------------------------------


def target_document(target: Target | None) -> dict[str, Any] | None:
    """The claim of a lock, as JSON."""
    if target is None:
        return None
    document = asdict(target)
    document["cuda"] = str(target.cuda) if target.cuda else None
    return document


def lock_document(result: LockResult) -> dict[str, Any]:
    """What `lock` did."""
    return {
        "name": result.name,
        "folder": str(result.folder),
        "outcome": result.outcome,
        "target": target_document(result.lock.target),
        "packages": _counts(result.lock),
        "notes": list(result.notes),
        "files": list(result.files),
        "models": _models_document(result.models),
    }


def _models_document(result: ModelsResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    from envforge.cli.rendering import render_models

    return render_models.lock_document(result)


def _counts(lock: Lock) -> dict[str, int]:
    return {platform: len(lock.for_platform(platform)) for platform in lock.platforms}


def plan_document(plan: InstallPlan) -> dict[str, Any]:
    """A transaction."""
    return {
        "add": [f"{item.name} {item.version} {item.build}".strip() for item in plan.add],
        "change": [
            {
                "name": new.name,
                "from": f"{old.version} {old.build}".strip(),
                "to": f"{new.version} {new.build}".strip(),
            }
            for old, new in plan.change
        ],
        "remove": [f"{item.name} {item.version}" for item in plan.remove],
        "keep": plan.keep,
    }


def planned_document(planned: PlannedInstall) -> dict[str, Any]:
    """What `install --dry-run` found."""
    return {
        "dry_run": True,
        "prefix": str(planned.prefix),
        "state": planned.state.value,
        "plan": plan_document(planned.plan),
        "forecast": asdict(planned.forecast),
    }


def install_document(result: InstallResult) -> dict[str, Any]:
    """What `install` did."""
    return {
        "prefix": str(result.prefix),
        "plan": plan_document(result.plan),
        "forecast": asdict(result.forecast),
        "link_mode": result.link_mode,
        "downloaded": result.downloaded,
        "bytecode": result.bytecode,
        "seconds": round(result.seconds, 3),
        "skipped_scripts": list(result.skipped_scripts),
    }


def create_document(result: CreateResult) -> dict[str, Any]:
    """What `create` did, part by part."""
    from envforge.cli.rendering.render_report import as_document

    return {
        "name": result.name,
        "lock": lock_document(result.lock),
        "install": install_document(result.install) if result.install else None,
        "planned": planned_document(result.planned) if result.planned else None,
        "prefill": _prefill_document(result.prefill),
        "verify": as_document(result.report) if result.report else None,
    }


def _prefill_document(result: Prefilled | None) -> dict[str, Any] | None:
    if result is None:
        return None
    from envforge.cli.rendering import render_prefill

    return dict(render_prefill.document(result))


def info_document(info: EnvironmentInfo, *, packages: bool = False) -> dict[str, Any]:
    """One environment."""
    document: dict[str, Any] = {
        "name": info.name,
        "folder": str(info.folder),
        "problem": info.problem,
        "target": target_document(info.lock.target) if info.lock else None,
        "locked": info.lock is not None,
        "stale": list(info.stale),
        "prefix": str(info.prefix) if info.prefix else None,
        "state": info.state.value,
        "up_to_date": info.up_to_date,
        "packages": _counts(info.lock) if info.lock else {},
    }
    if packages and info.lock:
        document["locked_packages"] = [asdict(item) for item in info.lock.packages]
    return document


# --- text -----------------------------------------------------------------------------------


def show_locked(result: LockResult) -> None:
    """Where the lock lies, and what it came to."""
    target = result.lock.target
    counts = ", ".join(
        f"{counted(count, 'package')} for {name}" for name, count in _counts(result.lock).items()
    )
    verb = {"written": "locked", "unchanged": "unchanged", "planned": "would lock"}[result.outcome]
    click.echo(f"{_good(verb)} {result.folder}: {counts}")
    if target is not None:
        click.echo(f"  {describe_target(target)}")
    if result.models is not None:
        from envforge.cli.rendering import render_models

        render_models.show_locked(result.models)


def describe_target(target: Target) -> str:
    """`torch 2.0.1, CUDA 11.8, cuDNN 8.7.0, python 3.10.20, from pytorch, driver 450.80.02+`."""
    parts = [f"torch {target.torch}", accelerator_name(target.cuda)]
    if target.cudnn:
        parts.append(f"cuDNN {target.cudnn}")
    parts += [f"python {target.python}", f"from {target.source}"]
    if target.min_driver:
        parts.append(f"driver {target.min_driver}+")
    if target.machine_local:
        parts.append("this machine only")
    return ", ".join(parts)


def show_planned(planned: PlannedInstall) -> None:
    """What an install would do, before it does."""
    forecast = planned.forecast
    click.echo(f"would install into {planned.prefix} ({planned.state.value})")
    for line in describe_changes(planned.plan):
        click.echo(f"  {line}")
    unknown = f" ({forecast.estimated} sizes estimated)" if forecast.estimated else ""
    click.echo(
        f"  download {size(forecast.download_bytes)}, cache {size(forecast.cache_bytes)},"
        f" prefix {size(forecast.prefix_bytes)}, {counted(forecast.inodes, 'file')}{unknown}"
    )


def show_installed(result: InstallResult) -> None:
    """Where the environment is, and how it came there."""
    if result.plan.is_empty:
        click.echo(f"{_good('as locked')} {result.prefix}: {counted(result.plan.keep, 'package')}")
        return
    changed = len(result.plan.add) + len(result.plan.change) + len(result.plan.remove)
    how = {
        "hardlink": "hardlinked from the package cache",
        "reflink": "reflinked from the package cache",
        "copy": "copied from the package cache (other filesystem)",
        "none": "nothing linked",
    }[result.link_mode]
    click.echo(f"{_good('installed')} {result.prefix}: {counted(changed, 'change')}, {how}")
    bytecode = {
        "compiled": "byte-compiled",
        "background": "byte-compiling goes on in the background",
        "skipped": "not byte-compiled",
    }[result.bytecode]
    click.echo(
        f"  {counted(result.downloaded, 'archive')} fetched, {bytecode}, {result.seconds:.1f} s"
    )


def show_created(result: CreateResult) -> None:
    """Everything `create` did, and what to type next."""
    show_locked(result.lock)
    if result.planned is not None:
        show_planned(result.planned)
    if result.install is not None:
        show_installed(result.install)
    if result.prefill is not None:
        from envforge.cli.rendering import render_prefill

        render_prefill.show(result.prefill)
    if result.report is not None:
        from envforge.cli.rendering import render_report

        render_report.show((result.report,), as_json=False)
    if result.install is not None and (result.report is None or result.report.passed):
        click.echo(f"next: envforge run {result.name} -- python")


def show_list(infos: Sequence[EnvironmentInfo], root: str) -> None:
    """A row an environment."""
    if not infos:
        click.echo(f"no environments in {root}")
        return
    rows = [("NAME", "TORCH", "CUDA", "PYTHON", "LOCK", "INSTALLED"), *map(_row, infos)]
    for line in columns(rows):
        click.echo(line)


def _row(info: EnvironmentInfo) -> tuple[str, ...]:
    if info.problem:
        return (info.name, "?", "?", "?", "unreadable", info.problem)
    target = info.lock.target if info.lock else None
    state = info.state.value
    if info.state is PrefixState.INSTALLED and not info.up_to_date:
        state = "differs from lock"
    return (
        info.name,
        target.torch if target else "-",
        (str(target.cuda) if target.cuda else "cpu") if target else "-",
        target.python if target else "-",
        ("stale" if info.stale else "current") if info.lock else "missing",
        "no" if info.state is PrefixState.ABSENT else state,
    )


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two blanks apart."""
    table = [tuple(row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def show_info(info: EnvironmentInfo, *, packages: bool, platform: str) -> None:
    """One environment at length."""
    click.echo(click.style(info.name, bold=True))
    rows = [("folder", str(info.folder))]
    if info.problem:
        rows.append(("problem", info.problem))
    if info.lock and info.lock.target:
        rows += _target_rows(info.lock.target)
    if info.lock:
        rows.append(("packages", ", ".join(f"{n} {p}" for p, n in _counts(info.lock).items())))
    state = "current" if info.lock and not info.stale else "; ".join(info.stale) or "missing"
    rows.append(("lock", state))
    installed = info.state.value + ("" if info.up_to_date or not info.prefix else ", not as locked")
    rows.append(("installed", f"{info.prefix} ({installed})" if info.prefix else "no"))
    for line in columns(rows):
        click.echo(f"  {line}")
    if packages and info.lock:
        for item in info.lock.for_platform(platform):
            click.echo(f"  {item.name} {item.version} {item.build or item.manager}")


def _target_rows(target: Target) -> list[tuple[str, str]]:
    rows = [
        ("torch", f"{target.torch}, {accelerator_name(target.cuda)}, from {target.source}"),
        ("python", target.python),
    ]
    if target.cuda:
        rows += [
            ("cuDNN", target.cudnn or "unknown"),
            ("driver", f"{target.min_driver} or newer" if target.min_driver else "unknown"),
            ("GPUs", " ".join(target.architectures) or "unknown"),
        ]
    if target.wheel_index:
        rows.append(("wheel index", target.wheel_index))
    if target.machine_local:
        rows.append(("machine-local", "holds packages that exist on this machine only"))
    return rows


def show_templates(templates: Iterable[Template]) -> None:
    """A line a template."""
    for line in columns((item.name, item.description) for item in templates):
        click.echo(line)


def show_template(template: Template) -> None:
    """The packages of one template, with their conditions."""
    click.echo(f"{click.style(template.name, bold=True)}: {template.description}")
    for item in template.packages:
        conditions = [f"torch {item.torch}"] if item.torch else []
        conditions += [f"on {', '.join(item.platforms)}"] if item.platforms else []
        conditions += [f"from {', '.join(item.sources)}"] if item.sources else []
        conditions += (
            [{True: "with CUDA", False: "without CUDA"}[item.cuda]] if item.cuda is not None else []
        )
        click.echo(f"  {item.spec}{'  (' + '; '.join(conditions) + ')' if conditions else ''}")
    for name, value in template.variables.items():
        click.echo(f"  {name}={value}")


def _good(text: str) -> str:
    return click.style(text, fg="green", bold=True)
