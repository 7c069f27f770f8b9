#!/usr/bin/env python3
# -*- coding: utf-8 -*-
"""Time a few small models from inside one interpreter; told what to do, line by line.

    python -I bench_program.py --device cpu --size tiny < requests > answers

Standard library and torch only, Python 3.8 or newer. Requests are JSON objects on standard input,
a line each; every one is answered by one line of JSON on standard output, which nothing else
reaches. Nothing is judged here.

Nothing here can be timed without waiting for the device: the only functions that read a clock
around a call are methods of the two classes `OnCpu` and `OnGpu`, and both wait; what they
waited for goes into each answer, and the reader refuses an answer without it.

Models are built from their shape with a fixed seed; nothing is fetched.
"""
# mypy: ignore-errors

import time

STARTED = time.monotonic_ns()  # before anything else is imported: the interpreter is up

import argparse
import json
import math
import os
import sys

SCHEMA = "envforge.bench-program/1"
SEED = 0
TAIL = 4000  # characters of a traceback that are kept
SIZES = {
    "full": {
        "image": 224, "channels": 64, "layers": 12, "width": 768, "heads": 12, "words": 30522,
        "length": 128, "past": 256, "matmul": 1024, "matmul-gpu": 4096,
        "bytes": 64 << 20, "bytes-gpu": 512 << 20,
    },
    "tiny": {
        "image": 32, "channels": 8, "layers": 2, "width": 64, "heads": 4, "words": 500,
        "length": 16, "past": 32, "matmul": 128, "matmul-gpu": 512,
        "bytes": 1 << 20, "bytes-gpu": 16 << 20,
    },
}  # fmt: skip


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Time a few small models.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0")
    parser.add_argument("--size", choices=sorted(SIZES), default="full")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="0: as torch decides")
    parser.add_argument("--began", type=int, default=0, help="when we were started, ns, monotonic")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for each request")
    options = parser.parse_args(arguments)
    die_with_parent()
    answers = own_output()
    session = Session(options)
    for line in sys.stdin:
        with_limit(options.timeout)
        try:
            answer = session.answer(json.loads(line))
        except BaseException as error:  # also SystemExit: some packages end the process on import
            answer = {"error": described(error)}
        without_limit()
        write_all(answers, (json.dumps(answer) + "\n").encode("ascii"))


def die_with_parent():
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
        except (ImportError, OSError, AttributeError):
            pass  # the end of standard input ends us as well


def own_output():
    """A descriptor that only answers are written to; prints of libraries go to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data) :]


def with_limit(seconds):
    """Past it the process ends with a traceback, wherever it hangs: a thread of C sees to it."""
    import faulthandler

    faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def without_limit():
    import faulthandler

    faulthandler.cancel_dump_traceback_later()


def described(error):
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"type": type(error).__name__, "message": str(error)[:TAIL], "traceback": text[-TAIL:]}


# --- clocks ---------------------------------------------------------------------------------


class OnCpu:
    """`perf_counter`, and one number of the result is read before it stops."""

    waits = "barrier"

    def __init__(self, torch, device):
        self.torch = torch

    def wait(self, result=None):
        if result is not None:
            result[(0,) * result.dim()].item()

    def each(self, call, count):
        """Seconds of each of `count` calls, one at a time."""
        found = []
        for _ in range(count):
            begun = time.perf_counter()
            self.wait(call())
            found.append(time.perf_counter() - begun)
        return found

    def together(self, call, count):
        """Seconds of `count` calls in a row, waited for once."""
        begun = time.perf_counter()
        for _ in range(count):
            result = call()
        self.wait(result)
        return time.perf_counter() - begun


class OnGpu(OnCpu):
    """CUDA events around each call, and the device is waited for."""

    waits = "cuda-events"

    def __init__(self, torch, device):
        self.torch, self.device = torch, device
        torch.cuda.set_device(device)  # an event is recorded in a stream of the current device

    def wait(self, result=None):
        self.torch.cuda.synchronize(self.device)

    def each(self, call, count):
        event, found = self.torch.cuda.Event, []
        self.wait()
        for _ in range(count):
            before, after = event(enable_timing=True), event(enable_timing=True)
            before.record()
            call()
            after.record()
            self.wait()
            found.append(before.elapsed_time(after) / 1000.0)
        return found

    def together(self, call, count):
        self.wait()
        return OnCpu.together(self, call, count)


# --- requests -------------------------------------------------------------------------------


class Session:
    """One interpreter with torch, and the one case that is being timed in it."""

    def __init__(self, options):
        self.options = options
        self.torch = self.device = self.clock = self.call = None

    def answer(self, request):
        return getattr(self, "do_" + request["do"])(request)

    def do_start(self, request):
        """Import torch, start the device, load a model, call it: what each of it took."""
        options, spent = self.options, {}
        if options.began:
            spent["interpreter"] = (STARTED - options.began) / 1e9
        import torch

        clock = Stages(spent, STARTED)
        clock.end("import")
        self.torch = torch
        self.device = chosen_device(torch, options.device)
        self.clock = (OnGpu if self.device != "cpu" else OnCpu)(torch, self.device)
        if options.threads:
            torch.set_num_threads(options.threads)
        torch.set_grad_enabled(False)
        if self.device != "cpu":
            clock.skip()
            torch.ones(8, device=self.device).sum()
            self.clock.wait()
            clock.end("context")
        if request.get("weights"):
            clock.skip()
            model, given = self.loaded(request["weights"])
            self.clock.wait()
            clock.end("load")
            self.clock.wait(model(*given))
            clock.end("call")
        return {"schema": SCHEMA, "stages": spent, "facts": facts(torch, self.device)}

    def do_weights(self, request):
        """Write the weights of the model that a start loads."""
        model, _ = self.built("encoder")
        torch = self.torch
        # kept as on the CPU, so that where they were written does not matter
        state = {name: value.to("cpu") for name, value in model.state_dict().items()}
        with open(request["path"], "wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        return {"bytes": os.path.getsize(request["path"])}

    def loaded(self, path):
        torch = self.torch
        state = torch.load(path, map_location="cpu")
        model, given = self.built("encoder", state)
        return model, given

    def do_prepare(self, request):
        """Build a case and call it for the first time; then until it is warm."""
        self.call = None
        case, mode = request["case"], request["mode"]
        if mode == "compiled" and not hasattr(self.torch, "compile"):
            return {"skipped": "torch %s has no torch.compile" % self.torch.__version__}
        if mode == "compiled" and not can_compile(self.device):
            return {"skipped": "there is no %s" % ("g++" if self.device == "cpu" else "Triton")}
        call, work = self.callable(case, mode)
        self.clock.wait()  # what is still being copied is not the call's
        begun = time.perf_counter()
        result = call()
        self.clock.wait(result)
        first = time.perf_counter() - begun
        mean = float(result.to("cpu").to(self.torch.float64).abs().mean())
        del result
        if not math.isfinite(mean):
            raise RuntimeError("the result of %s is not a number" % case)
        self.call, self.work = call, work
        warm = self.warmed(request.get("warm", 0.3))
        return {
            "first": first, "typical": warm, "result": mean, "work": work[0], "unit": work[1],
            "dtype": str(self.dtype(case)).rpartition(".")[2],
        }  # fmt: skip

    def warmed(self, seconds):
        """Call for so long, three times at least; what the faster half of the calls took."""
        found, until = [], time.perf_counter() + seconds
        while len(found) < 3 or time.perf_counter() < until:
            found += self.clock.each(self.call, 1)
        found.sort()
        return found[len(found) // 4]

    def do_block(self, request):
        """Seconds of each call, then of as many in a row."""
        import gc

        count, in_a_row = request["calls"], request.get("in_a_row", 0)
        gc.collect()
        gc.disable()
        try:
            self.clock.each(self.call, 1)  # caches hold what the other side left there
            found = self.clock.each(self.call, count)
            row = self.clock.together(self.call, in_a_row) if in_a_row else None
        finally:
            gc.enable()
        answer = {"seconds": found, "waits": self.clock.waits}
        if row:
            answer["rate"] = self.work[0] * in_a_row / row
        return answer

    def do_drop(self, request):
        import gc

        self.call = None
        gc.collect()
        if self.device != "cpu":
            self.torch.cuda.empty_cache()
        if hasattr(self.torch, "_dynamo") and "torch._dynamo" in sys.modules:
            self.torch._dynamo.reset()
        return {}

    # --- cases ---

    def dtype(self, case):
        torch = self.torch
        if self.device == "cpu":
            return torch.float32
        major = torch.cuda.get_device_properties(self.device).major
        return torch.bfloat16 if major >= 8 else torch.float16

    def shape(self):
        return SIZES[self.options.size]

    def callable(self, case, mode):
        """A function without arguments, and the work it does: (amount, unit)."""
        torch, shape = self.torch, self.shape()
        torch.manual_seed(SEED)
        where = "-gpu" if self.device != "cpu" else ""
        if case == "matmul":
            side = shape["matmul" + where]
            a = torch.randn(side, side).to(self.device, self.dtype(case))
            b = torch.randn(side, side).to(self.device, self.dtype(case))
            return (lambda: torch.mm(a, b)), (2.0 * side**3, "FLOP")
        if case == "bandwidth":
            count = shape["bytes" + where] // 4
            source = torch.ones(count, device=self.device)
            target = torch.empty_like(source)
            return (lambda: target.copy_(source)), (8.0 * count, "B")
        model, given = self.built(case)
        if mode == "compiled":
            model = torch.compile(model)
        unit = {"convnet": "image", "encoder": "token", "decoder": "token"}[case]
        each = shape["length"] if case == "encoder" else 1
        return (lambda: model(*given)), (float(self.options.batch * each), unit)

    def built(self, case, state=None):
        """A model and what it is called with, on the device."""
        torch, shape, batch = self.torch, self.shape(), self.options.batch
        torch.manual_seed(SEED)
        models = models_of(torch)
        if case == "convnet":
            model = models["convnet"](shape["channels"])
            given = (torch.randn(batch, 3, shape["image"], shape["image"]),)
        elif case == "encoder":
            model = empty_then(torch, models["encoder"], shape, state)
            given = (torch.randint(0, shape["words"], (batch, shape["length"])),)
        elif case == "decoder":
            model = models["decoder"](shape)
            size = (shape["layers"], 2, batch, shape["heads"])
            past = torch.randn(*size, shape["past"], shape["width"] // shape["heads"])
            given = (torch.randint(0, shape["words"], (batch, 1)), past)
        else:
            raise ValueError("no such case: %s" % case)
        model = model.eval().to(self.device, self.dtype(case))
        return model, tuple(self.moved(item, case) for item in given)

    def moved(self, item, case):
        if item.is_floating_point():
            return item.to(self.device, self.dtype(case))
        return item.to(self.device)


class Stages:
    """Seconds from one end to the next."""

    def __init__(self, spent, begun):
        self.spent, self.at = spent, begun

    def skip(self):
        self.at = time.monotonic_ns()

    def end(self, name):
        now = time.monotonic_ns()
        self.spent[name] = (now - self.at) / 1e9
        self.at = now


def chosen_device(torch, wanted):
    if wanted == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if wanted != "cpu" and not torch.cuda.is_available():
        raise RuntimeError("this torch sees no GPU, and %s was asked for" % wanted)
    return wanted


def can_compile(device):
    """Whether what Inductor's code is compiled with is there."""
    import importlib.util
    import shutil

    if device == "cpu":
        return shutil.which(os.environ.get("CXX") or "g++") is not None
    return importlib.util.find_spec("triton") is not None


def empty_then(torch, model, shape, state):
    """With `state`, no time goes into first values that would be thrown away.

    Not by the meta device: a first use of it imports 800 modules of torch, a second or two.
    """
    if state is None:
        return model(shape)
    names = ("kaiming_uniform_", "uniform_", "normal_")
    usual = {name: getattr(torch.nn.init, name) for name in names}
    try:
        for name in names:
            setattr(torch.nn.init, name, lambda tensor, *given, **more: tensor)
        made = model(shape)
    finally:
        for name in names:
            setattr(torch.nn.init, name, usual[name])
    made.load_state_dict(state)
    return made


# --- models ---------------------------------------------------------------------------------


def models_of(torch):
    """Classes, made here since `nn.Module` is known only once torch was imported."""
    nn, functional = torch.nn, torch.nn.functional

    def attention(query, key, value):
        if hasattr(functional, "scaled_dot_product_attention"):
            return functional.scaled_dot_product_attention(query, key, value)
        weights = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        return weights.softmax(-1) @ value

    class Block(nn.Module):
        """Two convolutions and a shortcut (ResNet's basic block)."""

        def __init__(self, before, after, stride):
            super().__init__()
            self.first = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(after)
            self.second = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(after)
            self.short = nn.Identity()
            if stride != 1 or before != after:
                self.short = nn.Sequential(
                    nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
                )

        def forward(self, x):
            y = functional.relu(self.norm1(self.first(x)))
            return functional.relu(self.norm2(self.second(y)) + self.short(x))

    class ConvNet(nn.Module):
        """In the shape of ResNet-18."""

        def __init__(self, width):
            super().__init__()
            self.stem = nn.Sequential(
                nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.MaxPool2d(3, 2, 1),
            )  # fmt: skip
            blocks, before = [], width
            for level in range(4):
                after = width << level
                blocks += [Block(before, after, 1 if level == 0 else 2), Block(after, after, 1)]
                before = after
            self.blocks = nn.Sequential(*blocks)
            self.head = nn.Linear(before, 1000)

        def forward(self, x):
            return self.head(self.blocks(self.stem(x)).mean((2, 3)))

    class Layer(nn.Module):
        """Attention and a feed-forward net; with a past, keys and values are added to it."""

        def __init__(self, width, heads):
            super().__init__()
            self.heads, self.each = heads, width // heads
            self.both = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.up = nn.Linear(width, 4 * width)
            self.down = nn.Linear(4 * width, width)
            self.norm1 = nn.LayerNorm(width)
            self.norm2 = nn.LayerNorm(width)

        def forward(self, x, past=None):
            batch, length, width = x.shape
            parts = self.both(self.norm1(x)).view(batch, length, 3, self.heads, self.each)
            query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
            if past is not None:
                key = torch.cat((past[0], key), 2)
                value = torch.cat((past[1], value), 2)
            y = attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
            x = x + self.out(y)
            return x + self.down(functional.gelu(self.up(self.norm2(x))))

    class Encoder(nn.Module):
        """In the size of BERT base."""

        def __init__(self, shape):
            super().__init__()
            width = shape["width"]
            self.words = nn.Embedding(shape["words"], width)
            self.places = nn.Parameter(torch.zeros(shape["length"], width))
            self.layers = nn.ModuleList(
                Layer(width, shape["heads"]) for _ in range(shape["layers"])
            )

        def forward(self, words):
            x = self.words(words) + self.places
            for layer in self.layers:
                x = layer(x)
            return x

    class Decoder(nn.Module):
        """One step of a GPT-2-sized decoder: one token, after a past that is in the cache."""

        def __init__(self, shape):
            super().__init__()
            width = shape["width"]
            self.words = nn.Embedding(shape["words"], width)
            self.layers = nn.ModuleList(
                Layer(width, shape["heads"]) for _ in range(shape["layers"])
            )
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, shape["words"], bias=False)

        def forward(self, words, past):
            x = self.words(words)
            for number, layer in enumerate(self.layers):
                x = layer(x, past[number])
            return self.head(self.norm(x))

    return {"convnet": ConvNet, "encoder": Encoder, "decoder": Decoder}


# --- facts ----------------------------------------------------------------------------------


def facts(torch, device):
    """What the numbers depend on."""
    found = {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "torch": str(torch.__version__),
        "cuda": getattr(torch.version, "cuda", None),
        "device": device,
        "processor": processor(),
        "cpus": usable_cpus(),
        "threads": torch.get_num_threads(),
        "load": load(),
    }
    if device != "cpu":
        about = torch.cuda.get_device_properties(device)
        found["gpu"] = about.name
        found["capability"] = "%d.%d" % (about.major, about.minor)
        found["cudnn"] = torch.backends.cudnn.version()
        found["tf32"] = bool(torch.backends.cuda.matmul.allow_tf32)
        found["driver"] = driver()
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "OMP_NUM_THREADS"):
        if os.environ.get(name):
            found[name] = os.environ[name][:200]
    return found


def usable_cpus():
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count()


def processor():
    try:
        with open("/proc/cpuinfo", errors="replace") as stream:
            for line in stream:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass  # not Linux
    import platform

    return platform.machine()


def driver():
    try:
        with open("/sys/module/nvidia/version") as stream:
            return stream.read().strip()
    except OSError:
        return None


def load():
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


if __name__ == "__main__":
    main()
    os._exit(0)  # what else has hooks that run at exit may hang there
