#!/usr/bin/env python3
"""Look at PyTorch, the driver and the GPUs from inside one interpreter, and print JSON.

    python -I probe.py --level import
    ssh host python3 - --level live --driver < envforge/verify/probe.py

Standard library only, Python 3.8 or newer (it also runs on 3.6), no file of its own needed: it
can be piped. Exactly one JSON document is written to standard output, between two marker lines,
so an interpreter that prints at start-up does not break it. Nothing is judged here.

Everything that can hang, crash or print (libcuda, NVML, torch, each GPU) runs in a child made by
fork before any of it was loaded, with a time limit; what the child had found until then is kept.
Fork, and not a second start of the interpreter: a piped script has no file to start again.
"""
# mypy: ignore-errors
# Annotations that mypy would want are not all read by Python 3.6.

import argparse
import json
import os
import sys
import time

SCHEMA = "envforge.probe/1"
BEGIN = "==== envforge probe: begin ===="
END = "==== envforge probe: end ===="
TAIL = 4000  # characters of a child's own output, or of a traceback, that are kept


def main(arguments=None):
    options = read_options(arguments)
    deadline = time.monotonic() + options.deadline

    def child(work, *given):
        return in_child(work, given, min(options.timeout, deadline - time.monotonic()))

    document = {"schema": SCHEMA, "level": options.level, "python": python_facts()}
    if options.driver:
        document["driver"] = {
            "kernel": kernel_module(),
            "cuda": child(cuda_facts),
            "nvml": child(nvml_facts),
        }
    if options.level in ("import", "live"):
        document["torch"] = torch = child(torch_facts)
    if options.level == "live" and "version" in torch:
        document["devices"] = [child(device_facts, name) for name in device_names(torch)]
    text = "\n" + BEGIN + "\n" + json.dumps(document, sort_keys=True) + "\n" + END + "\n"
    sys.stdout.flush()
    write_all(1, text.encode("ascii"))


def read_options(arguments):
    parser = argparse.ArgumentParser(description="Look at PyTorch, the driver and the GPUs.")
    parser.add_argument("--level", choices=["static", "import", "live"], default="live")
    parser.add_argument("--driver", action="store_true", help="ask libcuda and NVML too")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for each child")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds for all of them")
    return parser.parse_args(arguments)


def device_names(torch):
    """`cpu`, then every GPU that torch can see."""
    count = torch.get("device_count") or 0
    return ["cpu"] + ["cuda:%d" % index for index in range(count)]


def python_facts():
    return {
        "version": "%d.%d.%d" % sys.version_info[:3],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "platform": sys.platform,
    }


# --- children -------------------------------------------------------------------------------


def in_child(work, given, seconds):
    """Call `work(emit, *given)` in a child; what it emits, and under `ended` how it ended.

    `ended` is `done`, `error`, `timeout`, `signal N` or `status N`; `stage` is what it last began.
    """
    if seconds <= 0:
        return {"ended": "timeout", "stage": "not begun, the time for all was used up"}
    if not hasattr(os, "fork"):
        return without_fork(work, given)
    facts_in, facts_out = os.pipe()
    words_in, words_out = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(facts_in)
        os.close(words_in)
        be_child(work, given, facts_out, words_out)
    os.close(facts_out)
    os.close(words_out)
    lines, words, timely = listen(facts_in, words_in, seconds)
    facts = dict(json.loads(line) for line in lines if line)
    facts["ended"] = end_of(pid, timely, "error" in facts)
    if words:
        facts["output"] = words[-TAIL:]
    return facts


def be_child(work, given, facts_out, words_out):
    """Never returns. Whatever is printed from here on goes to the parent as `output`."""
    status = 1
    try:
        die_with_parent()
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.dup2(words_out, 1)
        os.dup2(words_out, 2)
        import faulthandler

        faulthandler.enable(file=2)
        perform(work, given, facts_out)
        status = 0
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)  # exit handlers of a broken library must not change the outcome


def perform(work, given, facts_out):
    def emit(key, value):
        write_all(facts_out, (json.dumps([key, value]) + "\n").encode("ascii"))

    try:
        work(emit, *given)
    except BaseException as error:  # also SystemExit: some packages end the process on import
        emit("error", described(error))


def without_fork(work, given):
    """Windows: in this process, so that only the caller's time limit protects."""
    facts = {}
    try:
        work(facts.__setitem__, *given)
        facts["ended"] = "done"
    except BaseException as error:
        facts["error"] = described(error)
        facts["ended"] = "error"
    return facts


def described(error):
    import traceback

    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return {"type": type(error).__name__, "message": str(error)[:TAIL], "traceback": text[-TAIL:]}


def die_with_parent():
    """Linux: be killed when the parent is, since a caller's time limit only reaches the parent."""
    os.setpgid(0, 0)
    if sys.platform.startswith("linux"):
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def listen(facts_in, words_in, seconds):
    """Read both pipes until the facts end: lines, words, and whether that was in time."""
    import select

    limit = time.monotonic() + seconds
    got = {facts_in: b"", words_in: b""}
    is_open = {facts_in, words_in}
    while facts_in in is_open:
        left = limit - time.monotonic()
        ready = select.select(list(is_open), [], [], max(left, 0))[0]
        if not ready:
            break
        for pipe in ready:
            chunk = os.read(pipe, 65536)
            got[pipe] += chunk
            if not chunk:
                is_open.discard(pipe)
    timely = facts_in not in is_open
    while words_in in is_open and select.select([words_in], [], [], 0.05)[0]:
        chunk = os.read(words_in, 65536)
        got[words_in] = (got[words_in] + chunk)[-4 * TAIL :]
        if not chunk:
            break
    os.close(facts_in)
    os.close(words_in)
    complete = got[facts_in].rpartition(b"\n")[0]
    return complete.decode("ascii").splitlines(), got[words_in].decode("utf-8", "replace"), timely


def end_of(pid, timely, failed):
    import signal

    if not timely:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            os.kill(pid, signal.SIGKILL)
    # A child inside a hung driver call cannot be killed at once; it is left behind then.
    limit = time.monotonic() + (2.0 if not timely else 30.0)
    done = status = 0
    while not done and time.monotonic() < limit:
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            time.sleep(0.005)
    if not timely or not done:
        return "timeout"
    if os.WIFSIGNALED(status):
        return "signal %d" % os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        return "status %d" % os.WEXITSTATUS(status)
    return "error" if failed else "done"


def write_all(target, data):
    while data:
        data = data[os.write(target, data) :]


# --- the driver -----------------------------------------------------------------------------


def kernel_module(path="/proc/driver/nvidia/version"):
    """The first line of the kernel module's own report, or None."""
    try:
        with open(path) as stream:
            return stream.readline().strip()
    except OSError:
        return None


def cuda_facts(emit):
    """cuInit, the driver's CUDA, and the devices that CUDA_VISIBLE_DEVICES leaves."""
    import ctypes

    emit("stage", "load libcuda")
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError as error:
        emit("absent", str(error))
        return
    emit("library", first_mapped("libcuda.so"))
    version = ctypes.c_int(0)
    if cuda.cuDriverGetVersion(ctypes.byref(version)) == 0:  # answers before cuInit
        emit("version", version.value)
    emit("stage", "cuInit")
    code = cuda.cuInit(0)
    emit("init", code)
    if code:
        emit("init_name", cuda_error_name(cuda, code))
        return
    emit("stage", "list devices")
    count = ctypes.c_int(0)
    code = cuda.cuDeviceGetCount(ctypes.byref(count))
    if code:
        emit("list_error", cuda_error_name(cuda, code))
    else:
        emit("gpus", [cuda_device(cuda, index) for index in range(count.value)])


def cuda_error_name(cuda, code):
    import ctypes

    text = ctypes.c_char_p()
    if cuda.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode("ascii", "replace")
    return "CUDA error %d" % code


def cuda_device(cuda, index):
    import ctypes

    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    memory = ctypes.c_size_t(0)
    name = ctypes.create_string_buffer(256)
    codes = [
        cuda.cuDeviceGet(ctypes.byref(device), index),
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device),  # COMPUTE_CAPABILITY_MAJOR
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device),  # COMPUTE_CAPABILITY_MINOR
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
    ]
    failed = [code for code in codes if code]
    if failed:
        return {"index": index, "error": cuda_error_name(cuda, failed[0])}
    return {
        "index": index,
        "name": name.value.decode("utf-8", "replace"),
        "capability": [major.value, minor.value],
        "memory": memory.value,
    }


def nvml_facts(emit):
    """The driver's version, and every device whatever CUDA_VISIBLE_DEVICES says."""
    import ctypes

    emit("stage", "load NVML")
    name = "nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1"
    try:
        nvml = ctypes.CDLL(name)
    except OSError as error:
        emit("absent", str(error))
        return
    emit("library", first_mapped("libnvidia-ml.so"))
    emit("stage", "nvmlInit")
    code = nvml.nvmlInit_v2()
    emit("init", code)
    if code:
        return
    emit("stage", "list devices")
    text = ctypes.create_string_buffer(96)
    if nvml.nvmlSystemGetDriverVersion(text, len(text)) == 0:
        emit("driver", text.value.decode("ascii", "replace"))
    version = ctypes.c_int(0)
    if nvml.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version)) == 0:
        emit("version", version.value)
    count = ctypes.c_uint(0)
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
        emit("gpus", [nvml_device(nvml, index) for index in range(count.value)])
    nvml.nvmlShutdown()


def nvml_device(nvml, index):
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [(key, ctypes.c_ulonglong) for key in ("total", "free", "used")]

    device, memory = ctypes.c_void_p(), Memory()
    name = ctypes.create_string_buffer(96)
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    code = nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
    if code:
        return {"index": index, "error": "NVML error %d" % code}
    code = nvml.nvmlDeviceGetName(
        device, name, len(name)
    ) or nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    if code:
        return {"index": index, "error": "NVML error %d" % code}
    found = {
        "index": index,
        "name": name.value.decode("utf-8", "replace"),
        "capability": [major.value, minor.value],
    }
    if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0:
        found["memory"] = memory.total
    return found


# --- torch ----------------------------------------------------------------------------------


def torch_facts(emit):
    """Import torch; what it says it was built with, and what was really loaded."""
    emit("stage", "import torch")
    begun = time.monotonic()
    try:
        import torch
    finally:
        emit("libraries", shared_objects())
    emit("seconds", round(time.monotonic() - begun, 3))
    emit("stage", "read the build")
    emit("file", torch.__file__)
    emit("cuda", getattr(torch.version, "cuda", None))
    emit("hip", getattr(torch.version, "hip", None))
    emit("git", getattr(torch.version, "git_version", None))
    emit("architectures", architectures(torch))
    emit("version", str(torch.__version__))
    if getattr(torch.version, "cuda", None):
        emit("stage", "ask cuDNN")
        cudnn_facts(emit, torch)
        emit("nccl", nccl_version(torch))
    emit("stage", "ask is_available()")
    availability(emit, torch)
    emit("libraries", shared_objects())


def architectures(torch):
    """`sm_80 … compute_90`, which needs no GPU; get_arch_list() is empty without one."""
    ask = getattr(torch._C, "_cuda_getArchFlags", None)
    flags = ask() if ask is not None else None
    return flags.split() if flags else []


def cudnn_facts(emit, torch):
    bound = getattr(torch._C, "_cudnn", None)
    for key, name in (
        ("cudnn_compiled", "getCompileVersion"),
        ("cudnn_loaded", "getRuntimeVersion"),
    ):
        ask = getattr(bound, name, None)
        if ask is not None:
            emit(key, dotted(ask()))
    try:
        emit("cudnn", torch.backends.cudnn.version())
    except RuntimeError as error:  # compiled against another than the one found
        emit("cudnn_error", str(error)[:TAIL])


def dotted(version):
    """cuDNN's numbers: (9, 10, 2), 91002 (from 9.0 on) or 8700 (before)."""
    if isinstance(version, (tuple, list)):
        return ".".join(str(part) for part in version)
    major = 10000 if version >= 10000 else 1000
    return "%d.%d.%d" % (version // major, version % major // 100, version % 100)


def nccl_version(torch):
    try:
        version = torch.cuda.nccl.version()
    except (AttributeError, RuntimeError):
        return None
    if isinstance(version, int):  # before torch 1.10
        return "%d.%d.%d" % (version // 1000, version % 1000 // 100, version % 100)
    return ".".join(str(part) for part in version)


def availability(emit, torch):
    """is_available() is no verdict: it is kept beside what a kernel does."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        emit("available", bool(torch.cuda.is_available()))
        emit("device_count", torch.cuda.device_count())
    emit("warnings", [str(item.message)[:1000] for item in caught][:5])


def device_facts(emit, device):
    """On one device: a kernel whose result is read back, and a matmul against the CPU's."""
    emit("device", device)
    emit("stage", "import torch")
    import torch

    if device != "cpu":
        emit("stage", "start CUDA")
        torch.cuda.set_device(device)
        known = torch.cuda.get_device_properties(device)
        emit("name", known.name)
        emit("capability", [known.major, known.minor])
        emit("memory", known.total_memory)
    emit("stage", "kernel")
    emit("kernel", kernel(torch, device))
    emit("stage", "matmul")
    emit("matmul", matmul(torch, device))
    emit("stage", "all done")


def kernel(torch, device):
    """Whole numbers, so the answer is exact: 3 + 5 + 7 + … over `count` terms."""
    count = 1 << 16
    numbers = torch.arange(1, count + 1, dtype=torch.int64, device=device)
    found = int((numbers * 2 + 1).sum().item())
    expected = count * (count + 1) + count
    return {"right": found == expected, "found": found, "expected": expected}


def matmul(torch, device):
    """fp32 against fp64 on the CPU.

    A sum of k products rounded to fp32 at each step is off by at most about 2 k u (|A| |B|) with
    u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """
    size = 192
    torch.backends.cuda.matmul.allow_tf32 = False
    index = torch.arange(size * size, dtype=torch.float64).reshape(size, size)
    left, right = torch.sin(index), torch.cos(index * 0.7)
    left, right = left.to(torch.float32), right.to(torch.float32)
    found = (left.to(device) @ right.to(device)).cpu().to(torch.float64)
    left, right = left.to(torch.float64), right.to(torch.float64)
    bound = 2 * size * 2.0**-24 * (left.abs() @ right.abs())
    off = (found - left @ right).abs()
    worst = float((off / bound).max())  # NaN where the device gave one
    if worst != worst or worst == float("inf"):
        return {"right": False, "worst": None}
    return {"right": worst <= 1.0, "worst": worst}


# --- shared objects -------------------------------------------------------------------------


def shared_objects():
    """Paths of every shared object that is mapped now, in no particular order of loading."""
    found = set()
    try:
        with open("/proc/self/maps", errors="replace") as stream:
            for line in stream:
                fields = line.rstrip("\n").split(None, 5)
                if len(fields) == 6 and ".so" in os.path.basename(fields[5]):
                    found.add(fields[5])
    except OSError:  # not Linux
        return []
    return sorted(found)


def first_mapped(name):
    return next(
        (path for path in shared_objects() if os.path.basename(path).startswith(name)), None
    )


if __name__ == "__main__":
    main()
