"""An interpreter that answers as `around/bench/bench_program.py` does, and computes nothing.

    python = bench_interpreter(tmp_path / "a", seconds=0.001, noise=0.02)

It is a virtual environment; a `.pth` file in it takes the program's place.

What it is told to break: `fails` (a case answers with an error), `lacks` (a case is declined),
`dies` (the process ends in a case), `garbled` (an answer that is none), `hasty` (a time that
nothing was waited for), `wrong` (a case that computes something else). With `swings` every second
process takes twice as long.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """\
import json, os, random, sys
told = json.loads({told!r})
source = random.Random(" ".join(sys.orig_argv))
with open(__file__ + ".starts", "a+") as stream:
    stream.write("x")
    if told["swings"] and stream.tell() % 2:
        told["seconds"] *= 2
case = None
for line in sys.stdin:
    request = json.loads(line)
    what = request["do"]
    case = request.get("case", case)
    answer = {{}}
    if what == "start":
        if told["no_torch"]:
            answer = {{"error": {{"type": "ImportError", "message": "no torch\\nhere"}}}}
        else:
            stages = {{"interpreter": 0.02, "import": 1.0}}
            if "weights" in request:
                stages.update(load=0.3, call=0.1)
            answer = {{
                "schema": "envforge.bench-program/1", "stages": stages, "facts": told["facts"]
            }}
    elif what == "weights":
        with open(request["path"], "w") as stream:
            stream.write("weights")
    elif what == "prepare":
        mode = request["mode"]
        if case in told["fails"]:
            answer = {{"error": {{"type": "RuntimeError", "message": "out of memory"}}}}
        elif case in told["lacks"] or mode in told["lacks"]:
            answer = {{"skipped": "there is no g++"}}
        elif case in told["dies"]:
            sys.stderr.write("Fatal: it died\\n")
            sys.stderr.flush()
            os._exit(3)
        else:
            result = 2.0 if case in told["wrong"] else 1.0
            answer = {{
                "first": 0.5, "typical": told["seconds"], "result": result,
                "unit": "image", "dtype": "float32",
            }}
    elif what == "block":
        each = [
            told["seconds"] * (1 + told["noise"] * abs(source.gauss(0, 1)))
            for _ in range(request["calls"])
        ]
        answer = {{"seconds": each, "waits": "barrier"}}
        if request["in_a_row"]:
            answer["rate"] = 1 / told["seconds"]
        if case in told["hasty"]:
            del answer["waits"]
        if case in told["garbled"]:
            print("[1, 2")
            sys.stdout.flush()
            continue
    print(json.dumps(answer))
    sys.stdout.flush()
os._exit(0)
"""
FACTS: dict[str, Any] = {
    "python": "3.11.7",
    "torch": "2.7.1",
    "cuda": None,
    "device": "cpu",
    "processor": "a processor",
    "cpus": 8,
    "threads": 8,
    "load": 0.1,
}


def bench_interpreter(
    folder: Path,
    *,
    seconds: float = 0.05,
    noise: float = 0.01,
    swings: bool = False,
    facts: dict[str, Any] | None = None,
    no_torch: bool = False,
    **broken: list[str],
) -> Path:
    """Make one; `seconds` is what each call is said to take."""
    told = {name: [] for name in ("fails", "lacks", "dies", "garbled", "hasty", "wrong")}
    told |= broken
    steering = {
        **told,
        "seconds": seconds,
        "noise": noise,
        "swings": swings,
        "facts": {**FACTS, **(facts or {})},
        "no_torch": no_torch,
    }
    site = folder / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    program = Path(sys.executable).resolve()
    (folder / "pyvenv.cfg").write_text(f"home = {program.parent}\n")
    (site / "stand_in.py").write_text(_PROGRAM.format(told=json.dumps(steering)))
    (site / "stand_in.pth").write_text(
        "import sys; 'bench_program' in str(sys.orig_argv) and __import__('stand_in')\n"
    )
    path = folder / "bin" / "python"
    path.symlink_to(program)
    return path
