"""Pages to look at: a server with a bit of everything, an empty one, and one of hostile names."""

from __future__ import annotations

from typing import Any, Final

from envforge import matrix
from envforge.around.bench import bench_judging
from envforge.around.bench.bench_statistics import spread_of
from envforge.around.page import bench_rows, heatmap
from envforge.around.page.overview import (
    Badge,
    BenchRow,
    Changes,
    Disk,
    EnvironmentRow,
    FactRow,
    FindingRow,
    HeatCell,
    Heatmap,
    HeatRow,
    LockChange,
    MoveRow,
    Overview,
    Tile,
    VerifyRow,
)
from envforge.cache.treemap import Box, squarify
from envforge.model.bench import BenchOptions, BenchResult, Cell, Series, Side
from envforge.model.cuda import CudaVersion
from envforge.model.lock import Target

GOOD: Final = Badge(text="ready", tone="good")
NEVER: Final = Badge(text="", tone="quiet")
BERT: Final = "nlp-bert-torch20-cu118"


def environment(name: str, **changes: Any) -> EnvironmentRow:
    fields: dict[str, Any] = {
        "state": GOOD,
        "torch": "2.0.1",
        "accelerator": "CUDA 11.8",
        "python": "3.10",
        "driver": "450.80.02",
        "platforms": ("linux-64",),
        "packages": 187,
        "prefix": f"~/.conda/envs/{name}",
        "verified": Badge(text="passed", tone="good"),
        "verified_at": "2026-01-30T12:00:00Z",
    }
    return EnvironmentRow(name=name, **fields | changes)


def _environments() -> tuple[EnvironmentRow, ...]:
    stale = Badge(
        text="stale lock",
        tone="warn",
        why="environment.yml: `numpy` was changed after it was locked",
        remedy="envforge lock diffusion-xl-torch27-cu126",
    )
    return (
        environment(
            "cv-yolo-torch113-cu117", torch="1.13.1", accelerator="CUDA 11.7", packages=164
        ),
        environment(
            "diffusion-xl-torch27-cu126",
            torch="2.7.1",
            accelerator="CUDA 12.6",
            driver="525.60.13",
            python="3.12",
            packages=214,
            state=stale,
            verified=Badge(text="1 warning", tone="warn"),
        ),
        environment(
            "llm-serve-torch29-cu128",
            torch="2.9.1",
            accelerator="CUDA 12.8",
            driver="525.60.13",
            python="3.12",
            packages=243,
            verified=Badge(text="1 problem", tone="bad"),
        ),
        environment(BERT),
        environment(
            "teaching-torch27-cpu",
            torch="2.7.1",
            accelerator="CPU",
            driver="",
            python="3.11",
            packages=98,
            prefix="",
            state=Badge(
                text="not installed",
                tone="quiet",
                remedy="envforge install teaching-torch27-cpu",
            ),
            verified=NEVER,
            verified_at="",
        ),
    )


def _targets() -> list[tuple[str, Target]]:
    return [
        (
            row.name,
            Target(
                torch=row.torch,
                cuda=CudaVersion.parse(row.accelerator.removeprefix("CUDA "))
                if row.accelerator != "CPU"
                else None,
                cudnn=None,
                python=row.python,
                source="wheels",
            ),
        )
        for row in _environments()
    ]


def _heatmap() -> Any:
    tables = matrix.load()
    machine = matrix.described("535.104.05", ("H100", "H100"), tables)
    return heatmap.heatmap(matrix.grid(tables, machine), _targets())


def _changes() -> Changes:
    moves = (
        ("numpy", "~", "1.26.4", "2.1.3", "", "asked for"),
        ("transformers", "~", "4.44.2", "4.46.1", "", "asked for"),
        ("tokenizers", "~", "0.19.1", "0.20.3", "", "transformers 4.46.1 needs tokenizers >=0.20"),
        (
            "libabseil",
            "~",
            "20240722",
            "20240116",
            "older",
            "grpcio 1.62 needs libabseil <20240200",
        ),
        ("safetensors-rs", "+", "", "0.4.5", "", "transformers 4.46.1 needs safetensors >=0.4.1"),
        ("pytz", "-", "2024.1", "", "linux-aarch64", "pandas 2.3 no longer needs pytz"),
    )
    return Changes(
        since="HEAD~3",
        commit="4f1c0e9b2a77",
        same=2,
        environments=(
            LockChange(
                name="diffusion-xl-torch27-cu126",
                kind="moved",
                summary="6 packages moved, 2 asked for",
                facts=(
                    FactRow(fact="cuDNN", before="9.5.1", after="9.10.1"),
                    FactRow(fact="torch", before="2.7.0", after="2.7.1"),
                ),
                moves=tuple(
                    MoveRow(package=n, sign=s, before=b, after=a, note=t, why=w)  # type: ignore[arg-type]
                    for n, s, b, a, t, w in moves
                ),
                notes=("locked for linux-aarch64 too",),
            ),
            LockChange(name="llm-serve-torch29-cu128", kind="new", summary="new, 243 packages"),
            LockChange(name="old-gan-torch112-cu113", kind="gone", summary="removed"),
        ),
    )


def _disk() -> Disk:
    shares = (
        ("meta-llama/Llama-3.1-8B-Instruct", "llm-serve-torch29-cu128, anna", "shared", 16_070),
        ("stabilityai/stable-diffusion-xl-base-1.0", "diffusion-xl-torch27-cu126", "own", 13_900),
        ("openai/whisper-large-v3", "nobody", "reclaimable", 6_170),
        ("google-bert/bert-large-uncased", "nlp-bert-torch20-cu118, teaching", "shared", 2_690),
        ("facebook/dinov2-giant", "cv-yolo-torch113-cu117", "own", 2_270),
        ("google-bert/bert-base-uncased", "nlp-bert-torch20-cu118, teaching", "shared", 880),
        ("(partial downloads)", "nobody", "reclaimable", 410),
        ("gpt2", "~/.cache/huggingface/hub", "own", 270),
        ("hf-internal-testing/tiny-random-bert", "teaching-torch27-cpu", "own", 3),
    )
    boxes = squarify([float(item[3]) for item in shares], Box(x=0, y=0, width=100, height=40))
    sums = {
        part: sum(i[3] for i in shares if i[2] == part) for part in ("shared", "own", "reclaimable")
    }
    return Disk(
        total=sum(sums.values()) * 10**6,
        shared=sums["shared"] * 10**6,
        own=sums["own"] * 10**6,
        reclaimable=sums["reclaimable"] * 10**6,
        tiles=tuple(
            Tile(
                repo=repo,
                users=users,
                part=part,  # type: ignore[arg-type]
                bytes=amount * 10**6,
                x=box.x,
                y=box.y * 2.5,
                width=box.width,
                height=box.height * 2.5,
            )
            for (repo, users, part, amount), box in zip(shares, boxes, strict=True)
        ),
    )


def _verified() -> tuple[VerifyRow, ...]:
    proven = (
        ("torch", "2.9.1, imported"),
        ("CUDA compiled", "12.8"),
        ("cuDNN loaded", "9.10.2"),
        ("GPU 0", "NVIDIA H100 (9.0), 80 GiB: kernel and matmul right"),
    )
    return (
        VerifyRow(
            name="llm-serve-torch29-cu128",
            result=Badge(text="1 problem", tone="bad"),
            level="live",
            at="2026-01-30T12:00:00Z",
            is_outdated=False,
            passed=61,
            unproven=3,
            findings=(
                FindingRow(
                    check="loader-path-shadows",
                    severity="error",
                    message="LD_LIBRARY_PATH puts another libcudnn.so.9 before the environment's",
                    remedy="unset LD_LIBRARY_PATH",
                ),
            ),
            proven=proven,
        ),
        VerifyRow(
            name="diffusion-xl-torch27-cu126",
            result=Badge(text="1 warning", tone="warn"),
            level="import",
            at="2026-01-12T08:30:00Z",
            is_outdated=True,
            passed=48,
            unproven=9,
            findings=(
                FindingRow(
                    check="lock-drift",
                    severity="warning",
                    message="1 package installed that the lock does not hold: black 25.1",
                    remedy="envforge install diffusion-xl-torch27-cu126",
                ),
            ),
            proven=(),
        ),
        VerifyRow(
            name=BERT,
            result=Badge(text="passed", tone="good"),
            level="live",
            at="2026-01-30T12:00:00Z",
            is_outdated=False,
            passed=64,
            unproven=0,
            findings=(),
            proven=proven[:2],
        ),
    )


def bench_result() -> BenchResult:
    """Two environments, measured in turns."""

    def rounds(*medians: float) -> tuple[tuple[tuple[float, ...], ...], ...]:
        return tuple(((median, median * 1.02, median * 0.99),) * 3 for median in medians)

    def side(name: str, encoder: float, convnet: float) -> Side:
        cells = {
            Cell(case="encoder"): rounds(encoder, encoder * 1.03, encoder * 0.98),
            Cell(case="encoder", mode="compiled"): rounds(encoder * 0.61, encoder * 0.66),
            Cell(case="convnet"): rounds(convnet, convnet * 1.01, convnet),
        }
        timed = (
            Series(cell=cell, rounds=found, waits="barrier", spread=spread_of(found))
            for cell, found in cells.items()
        )
        lacking = Series(
            cell=Cell(case="decoder", mode="compiled"), why_not="torch 1.13 has no `compile`"
        )
        return Side(name=name, facts={}, series=(*timed, lacking))

    return bench_judging.judged(
        BenchResult(
            options=BenchOptions(),
            side=side("diffusion-xl-torch27-cu126", 0.0123, 0.0047),
            against=side(BERT, 0.0101, 0.0047),
        )
    )


def full() -> Overview:
    """A server with a bit of everything."""
    return Overview(
        version="0.6.0",
        environments=_environments(),
        heatmap=_heatmap(),
        changes=_changes(),
        disk=_disk(),
        verified=_verified(),
        benchmarks=bench_rows.rows([bench_result()]),
    )


def empty() -> Overview:
    """A machine without anything."""
    tables = matrix.load()
    return Overview(
        version="0.6.0",
        environments=(),
        heatmap=heatmap.heatmap(matrix.grid(tables, None), ()),
        changes=Changes(since="HEAD", problem="folder `envs` is in no git repository"),
        disk=Disk(problem="No store of model files yet: `envforge cache init` makes one."),
        verified=(),
    )


def with_text(text: str) -> Overview:
    """This text in every place that a name, a path or a message may reach."""
    badge = Badge(text=text, tone="bad", why=text, remedy=text)
    move = MoveRow(package=text, sign="~", before=text, after=text, note=text, why=text)
    change = LockChange(
        name=text,
        kind="moved",
        summary=text,
        facts=(FactRow(fact=text, before=text, after=text),),
        moves=(move,),
        notes=(text,),
    )
    row = environment(text, state=badge, prefix=text, verified=badge, torch=text, python=text)
    cell = HeatCell(cuda=text, state="native", letters="p", detail=text, environments=(text,))
    finding = FindingRow(check=text, severity="error", message=text, remedy=text)
    verified = VerifyRow(
        name=text,
        result=badge,
        level="live",
        at="",
        is_outdated=False,
        passed=1,
        unproven=1,
        findings=(finding,),
        proven=((text, text),),
    )
    bench = BenchRow(
        name=text, case=text, metric=text, value=text, order=1.0, spread=text, verdict=badge
    )
    tile = Tile(repo=text, users=text, part="own", bytes=1, x=0, y=0, width=100, height=100)
    return Overview(
        version="0.6.0",
        environments=(row,),
        heatmap=Heatmap(
            platform="linux-64",
            host=(text,),
            cudas=(text,),
            rows=(HeatRow(torch=text, cells=(cell,)),),
            states=("native",),
        ),
        changes=Changes(since=text, commit=text, environments=(change,)),
        disk=Disk(total=1, own=1, tiles=(tile,)),
        verified=(verified,),
        benchmarks=(bench,),
    )
