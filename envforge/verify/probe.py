#!/usr/bin/env python3
# -*- coding: utf-8 -*-
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

import sys

if sys.version_info < (3, 6):  # older ones still read this file as far as here
    sys.exit("it is Python %d.%d, and PyTorch needs 3.6 or newer" % sys.version_info[:2])

import argparse
import json
import os
import time

SCHEMA = "envforge.probe/1"
HERE = "==== envforge probe: here ===="
BEGIN = "==== envforge probe: begin ===="
END = "==== envforge probe: end ===="
TAIL = 4000  # characters of a child's own output, or of a traceback, that are kept
MOST = 16 << 20  # bytes of facts that a child may tell; a sane one tells a hundredth


def main(arguments=None):
    options = read_options(arguments)
    if not is_open(1):
        sys.exit("its standard output was closed before the probe began")
    fill_descriptors()
    write_all(1, ("\n" + HERE + "\n").encode("ascii"))
    if options.with_parent:
        linux_prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    adopt_orphans()
    deadline = time.monotonic() + options.deadline

    def child(work, *given, **limit):
        seconds = min(limit.get("seconds", options.timeout), options.timeout)
        return in_child(work, given, min(seconds, deadline - time.monotonic()))

    document = {"schema": SCHEMA, "level": options.level}
    if options.driver:
        document["driver"] = driver_facts(child, options.wait_802, options.contexts, options.watch)
    if options.level in ("import", "live"):
        document.update(import_level(child, options.imports, options.timeout))
    if options.level == "live" and "version" in document["torch"]:
        document.update(live_level(child, document, options))
    document["python"] = python_facts()
    end_leftovers()
    text = "\n" + BEGIN + "\n" + json.dumps(document, sort_keys=True) + "\n" + END + "\n"
    sys.stdout.flush()
    write_all(1, text.encode("ascii"))


def read_options(arguments):
    parser = argparse.ArgumentParser(description="Look at PyTorch, the driver and the GPUs.")
    parser.add_argument("--level", choices=["static", "import", "live"], default="live")
    parser.add_argument("--driver", action="store_true", help="ask libcuda and NVML too")
    parser.add_argument("--contexts", action="store_true", help="with --driver: use each GPU")
    parser.add_argument(
        "--wait-802", type=float, default=0.0, metavar="SECONDS", help="for GPUs not ready yet"
    )
    parser.add_argument(
        "--watch", type=float, default=None, metavar="SECONDS",
        help="with --driver: tell also who uses each GPU in this time",
    )  # fmt: skip
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="NAME",
        help="import this module too, if it is there, after torch in a child; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--compile", choices=["auto", "yes", "gpu", "no"], default="auto",
        help="level live: try torch.compile; gpu: on GPUs, auto: also on the CPU where g++ is",
    )  # fmt: skip
    parser.add_argument("--with-parent", action="store_true", help="Linux: end when it ends")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for each child")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds for all of them")
    return parser.parse_args(arguments)


def python_facts():
    import site
    import sysconfig

    try:
        include = sysconfig.get_paths()["include"]
    except Exception as error:  # an interpreter that was moved may not know its own build
        include, broken = None, str(error)[:TAIL]
    else:
        broken = None
    return {
        "version": "%d.%d.%d" % sys.version_info[:3],
        "implementation": sys.implementation.name,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "platform": sys.platform,
        "include": include,
        "sysconfig_error": broken,
        "path": list(sys.path),
        "user_site": getattr(site, "getusersitepackages", lambda: None)(),
        "user_site_enabled": getattr(site, "ENABLE_USER_SITE", None),
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
    facts, words, heard = listen(pid, facts_in, words_in, seconds)
    facts["ended"] = heard if heard in ("timeout", "error") else end_of(pid, heard, facts)
    kill_group(pid, is_reaped=True)
    if words:
        facts["output"] = words
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
        close_others(facts_out)
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


def close_others(kept):
    """What a child leaves behind may hold its own pipes open, and no one else's."""
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except (OSError, ValueError):  # not Linux
        descriptors = range(3, 256)
    for descriptor in descriptors:
        if descriptor > 2 and descriptor != kept:
            try:
                os.close(descriptor)
            except OSError:
                pass  # the one that listed them


def perform(work, given, facts_out):
    def emit(key, value):
        write_all(facts_out, (json.dumps([key, value]) + "\n").encode("ascii"))

    try:
        work(emit, *given)
    except BaseException as error:  # also SystemExit: some packages end the process on import
        emit("error", described(error))
    write_all(facts_out, LAST)


LAST = b"[]\n"  # ends what a child tells; a process that it left behind may hold the pipe open


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
    linux_prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL


def adopt_orphans():
    """Linux: what a child leaves behind becomes ours, so that it can be ended."""
    linux_prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def linux_prctl(option, value):
    if sys.platform.startswith("linux"):
        try:
            import ctypes

            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            pass  # an interpreter without ctypes: the limits still hold, orphans are not ended


def end_leftovers():
    """Kill every process that is ours by now: children of children that left their group."""
    for _ in range(20):
        try:
            with open("/proc/self/task/%d/children" % os.getpid()) as stream:
                pids = [int(word) for word in stream.read().split()]
        except (OSError, ValueError):  # not Linux, or a kernel that does not tell
            return
        for pid in pids:
            try:
                os.kill(pid, 9)
                os.waitpid(pid, os.WNOHANG)
            except OSError:
                pass  # gone
        if not pids:
            return
        time.sleep(0.01)


def listen(pid, facts_in, words_in, seconds):
    """Read both pipes until the child has told all or is gone.

    Returns its facts, its words, and its status, or `timeout` or `error` for one that was stopped.
    """
    import select

    limit = time.monotonic() + seconds
    told, words = bytearray(), Words()
    pipes, status = [facts_in, words_in], None
    while facts_in in pipes and not told.endswith(LAST) and status is None:
        left = limit - time.monotonic()
        if left <= 0 or len(told) > MOST:
            break
        ready = select.select(pipes, [], [], min(left, 0.2))[0]
        if not ready:
            status = exit_status(pid)
        for pipe in ready:
            chunk = os.read(pipe, 65536)
            if pipe == facts_in:
                told += chunk
            else:
                words.add(chunk)
            if not chunk:
                pipes.remove(pipe)
    timely = told.endswith(LAST) or facts_in not in pipes or status is not None
    heard = status if timely else ("error" if len(told) > MOST else "timeout")
    if not timely:
        kill_group(pid)
        exit_status(pid, 2.0)  # one inside a hung driver call cannot be killed: it is left behind
    while words_in in pipes and select.select([words_in], [], [], 0.05)[0]:
        chunk = os.read(words_in, 65536)
        words.add(chunk)
        if not chunk or time.monotonic() > limit + 1:
            break
    os.close(facts_in)
    os.close(words_in)
    return facts_of(told), words.text(), heard


def facts_of(told):
    """Pairs, a line each; a child that died may have left the last one unfinished."""
    facts = {}
    for line in bytes(told).rpartition(b"\n")[0].splitlines():
        try:
            pair = json.loads(line.decode("ascii"))
        except ValueError:
            continue
        if isinstance(pair, list) and len(pair) == 2:
            facts[pair[0]] = pair[1]
    return facts


class Words:
    """What a child printed: the beginning and the end of it, however much there is."""

    def __init__(self):
        self.first, self.last, self.cut = b"", b"", False

    def add(self, chunk):
        room = TAIL - len(self.first)
        self.first += chunk[:room]
        self.cut = self.cut or len(self.last) + len(chunk[room:]) > TAIL
        self.last = (self.last + chunk[room:])[-TAIL:]

    def text(self):
        between = b"\n[...]\n" if self.cut else b""
        return (self.first + between + self.last).decode("utf-8", "replace")


def exit_status(pid, seconds=0.0):
    """The status of a child that has ended, waiting some seconds for it; None: it has not."""
    limit = time.monotonic() + seconds
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except OSError:  # somebody else has waited for it
            return 0
        if done:
            return status
        if time.monotonic() >= limit:
            return None
        time.sleep(0.002)


def end_of(pid, status, facts):
    if status is None:
        status = exit_status(pid, 5.0)
    if status is None:  # it told all, and cannot end
        kill_group(pid)
        exit_status(pid, 2.0)
        return "timeout"
    if os.WIFSIGNALED(status):
        return "signal %d" % os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        return "status %d" % os.WEXITSTATUS(status)
    return "error" if "error" in facts else "done"


def kill_group(pid, is_reaped=False):
    """A child and what it has started; of one that was waited for, the number may be another's."""
    for kill in (os.killpg,) if is_reaped else (os.killpg, os.kill):
        try:
            return kill(pid, 9)
        except OSError:
            continue  # no such group: the child was ended before it could make one


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def fill_descriptors():
    """0 to 2 are in use from here on, so that no pipe gets one of these numbers."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            return os.close(descriptor)


def write_all(target, data):
    while data:
        data = data[os.write(target, data) :]


# --- the driver -----------------------------------------------------------------------------

NOT_READY = 802  # cuInit: a fabric still being set up, or a confidential GPU not released
ENOUGH = 256  # processes of one GPU that are listed


def driver_facts(child, wait_802, contexts, watch=None):
    """libcuda and NVML asked side by side, each in a child; then a context on each GPU."""
    nvml, cuda = together([(child, nvml_facts, watch), (cuda_patiently, child, wait_802)])
    gpus = [gpu for gpu in cuda.get("gpus", ()) if "error" not in gpu] if contexts else []
    for gpu, tried in zip(gpus, together([(child, context_facts, gpu["index"]) for gpu in gpus])):
        gpu["context"] = {key: tried.get(key) for key in ("code", "name", "ended", "stage")}
    return {"kernel": kernel_module(), "cuda": cuda, "nvml": nvml}


def cuda_patiently(child, seconds):
    """Ask libcuda again for some seconds, as long as it says that the GPUs are not ready yet."""
    limit = time.monotonic() + seconds
    found = child(cuda_facts)
    while found.get("init") == NOT_READY and time.monotonic() < limit:
        time.sleep(min(1.0, max(limit - time.monotonic(), 0.0)))
        found = child(cuda_facts)
    return found


def together(calls):
    """What each call returns, all running at once; a caller's fork is never the one that hangs."""
    if not hasattr(os, "fork"):
        return [call[0](*call[1:]) for call in calls]
    return [collect(pid, pipe) for pid, pipe in [begin(call) for call in calls]]


def begin(call):
    incoming, outgoing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            die_with_parent()
            os.close(incoming)
            write_all(outgoing, json.dumps(call[0](*call[1:])).encode("ascii"))
            status = 0
        finally:
            os._exit(status)
    os.close(outgoing)
    return pid, incoming


def collect(pid, pipe):
    with os.fdopen(pipe, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    try:
        return json.loads(data.decode("ascii"))
    except ValueError:
        return {"ended": "error", "stage": "start a child"}


def call(library, names, *given):
    """Code of the first of these entry points that the library has; None: it has none of them."""
    for name in names.split():
        function = getattr(library, name, None)
        if function is not None:
            return function(*given)
    return None


def kernel_module(path="/proc/driver/nvidia/version"):
    """The first line of the kernel module's own report, or None."""
    try:
        with open(path, errors="replace") as stream:
            return stream.readline().strip()
    except OSError:
        return None


def cuda_facts(emit):
    """cuInit, the driver's CUDA, and the devices that CUDA_VISIBLE_DEVICES leaves."""
    import ctypes

    cuda = load_library(emit, "libcuda", "libcuda.so.1", "nvcuda.dll")
    if cuda is None:
        return
    version = ctypes.c_int(0)
    if call(cuda, "cuDriverGetVersion", ctypes.byref(version)) == 0:  # answers before cuInit
        emit("version", version.value)
    emit("stage", "cuInit")
    code = cuda.cuInit(0)
    emit("init", code)
    if code:
        emit("init_name", cuda_error_name(cuda, code))
        return
    emit("stage", "list devices")
    count = ctypes.c_int(0)
    code = call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    if code:
        emit("list_error", cuda_error_name(cuda, code))
    else:
        emit("gpus", [cuda_device(cuda, index) for index in range(count.value)])


def load_library(emit, title, linux, windows):
    """The library, and what the loader chose; None, after saying why, where there is none."""
    import ctypes

    emit("stage", "load " + title)
    try:
        library = ctypes.CDLL(windows if sys.platform == "win32" else linux)
    except OSError as error:
        emit("absent", str(error))
        return None
    emit("library", first_mapped(linux.rpartition(".")[0]))
    return library


def cuda_error_name(cuda, code):
    import ctypes

    text = ctypes.c_char_p()
    if call(cuda, "cuGetErrorName", code, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode("ascii", "replace")
    return "CUDA error %d" % code


def cuda_device(cuda, index):
    import ctypes

    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    memory = ctypes.c_size_t(0)
    name = ctypes.create_string_buffer(256)
    codes = [
        call(cuda, "cuDeviceGet", ctypes.byref(device), index),
        call(cuda, "cuDeviceGetName", name, len(name), device),
        call(cuda, "cuDeviceGetAttribute", ctypes.byref(major), 75, device),  # compute capability
        call(cuda, "cuDeviceGetAttribute", ctypes.byref(minor), 76, device),
        call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(memory), device),
    ]
    failed = [code for code in codes if code]
    if failed:
        return {"index": index, "error": cuda_error_name(cuda, failed[0]), "code": failed[0]}
    found = {
        "index": index,
        "name": name.value.decode("utf-8", "replace"),
        "capability": [major.value, minor.value],
        "uuid": cuda_uuid(cuda, device),
        "bus": cuda_bus(cuda, device),
    }
    if memory.value:
        found["memory"] = memory.value
    return found


def cuda_uuid(cuda, device):
    """`GPU-…`, also for a MIG slice, of which _v2 gives the slice's own; None: not told."""
    import ctypes

    raw = (ctypes.c_ubyte * 16)()
    if call(cuda, "cuDeviceGetUuid_v2 cuDeviceGetUuid", raw, device) != 0 or not any(raw):
        return None
    digits = "".join("%02x" % byte for byte in raw)
    return "GPU-" + "-".join(
        digits[a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    )


def cuda_bus(cuda, device):
    import ctypes

    text = ctypes.create_string_buffer(32)
    if call(cuda, "cuDeviceGetPCIBusId", text, len(text), device) != 0:
        return None
    return text.value.decode("ascii", "replace") or None


def context_facts(emit, index):
    """Make the primary context of one device, which is what the first use of a GPU does."""
    import ctypes

    emit("stage", "cuInit")
    cuda = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    device, context = ctypes.c_int(0), ctypes.c_void_p()
    code = cuda.cuInit(0) or call(cuda, "cuDeviceGet", ctypes.byref(device), index)
    if not code:
        emit("stage", "make a context")
        code = call(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        if code is None:
            code = call(cuda, "cuCtxCreate_v2", ctypes.byref(context), 0, device)
    emit("code", code)
    if code:
        emit("name", cuda_error_name(cuda, code))
    elif code == 0:
        emit("stage", "end a context")
        call(cuda, "cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRelease", device)


def nvml_facts(emit, watch=None):
    """The driver's version, and every device whatever CUDA_VISIBLE_DEVICES says."""
    import ctypes

    nvml = load_library(emit, "NVML", "libnvidia-ml.so.1", "nvml.dll")
    if nvml is None:
        return
    emit("stage", "nvmlInit")
    code = call(nvml, "nvmlInit_v2 nvmlInit")
    emit("init", 13 if code is None else code)  # 13: NVML's own for a missing function
    if code != 0:
        emit("init_name", nvml_error_name(nvml, code))
        return
    emit("stage", "ask for the driver's version")
    text = ctypes.create_string_buffer(96)
    if call(nvml, "nvmlSystemGetDriverVersion", text, len(text)) == 0:
        emit("driver", text.value.decode("ascii", "replace"))
    number = ctypes.c_int(0)
    versions = "nvmlSystemGetCudaDriverVersion_v2 nvmlSystemGetCudaDriverVersion"
    if call(nvml, versions, ctypes.byref(number)) == 0 and number.value:
        emit("version", number.value)
    emit("stage", "list devices")
    number = ctypes.c_uint(0)
    code = call(nvml, "nvmlDeviceGetCount_v2 nvmlDeviceGetCount", ctypes.byref(number))
    if code:
        emit("list_error", nvml_error_name(nvml, code))
    elif code == 0:
        nvml_devices(emit, nvml, number.value, watch)
    call(nvml, "nvmlShutdown")


def nvml_error_name(nvml, code):
    import ctypes

    words = getattr(nvml, "nvmlErrorString", None)
    if words is not None and code is not None:
        words.restype = ctypes.c_char_p
        text = words(code)
        if text:
            return "%s (NVML error %d)" % (text.decode("ascii", "replace"), code)
    return "NVML error %s" % code


def nvml_devices(emit, nvml, count, watch):
    """First which GPUs there are, then the details of each: a broken one may hang there."""
    found = []
    for index in range(count):
        emit("stage", "find GPU %d" % index)
        found.append(nvml_device(nvml, index))
    gpus = [gpu for _handle, gpu in found]
    emit("gpus", gpus)
    for handle, gpu in found:
        if handle is not None:
            emit("stage", "look at GPU %d" % gpu["index"])
            gpu.update(nvml_details(nvml, handle))
            emit("gpus", gpus)
    if watch is not None:
        emit("stage", "watch the GPUs")
        nvml_watch(nvml, [(handle, gpu) for handle, gpu in found if handle is not None], watch)
        emit("gpus", gpus)


def nvml_watch(nvml, gpus, seconds):
    """Who used each GPU from some seconds before until some seconds from now.

    NVML keeps what it sampled in the last seconds, so the first look reaches into the past.
    """
    for turn in range(2):
        for handle, gpu in gpus:
            usage = gpu.setdefault("usage", {"seconds": seconds})
            busy, used = nvml_busy(nvml, handle), nvml_used_by(nvml, handle)
            usage["busy"] = busy if usage.get("busy") is None else max(usage["busy"], busy or 0)
            if used is not None:
                known = usage.setdefault("processes", {})
                known.update((pid, max(part, known.get(pid, 0))) for pid, part in used)
            usage["reserved"] = nvml_reserved(nvml, handle)
        if turn == 0:
            time.sleep(seconds)
    for _handle, gpu in gpus:
        usage = gpu["usage"]
        if "processes" in usage:  # JSON has no numbers as keys
            usage["processes"] = sorted([pid, part] for pid, part in usage["processes"].items())


def nvml_busy(nvml, device):
    """Percent of the last second or less in which a kernel ran; None: not told, as with MIG."""
    import ctypes

    class Rates(ctypes.Structure):
        _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]

    rates = Rates()
    code = call(nvml, "nvmlDeviceGetUtilizationRates", device, ctypes.byref(rates))
    return rates.gpu if code == 0 else None


def nvml_used_by(nvml, device):
    """(pid, percent) of those that used it in the samples NVML keeps; None: not told."""
    import ctypes

    class Sample(ctypes.Structure):
        _fields_ = [("pid", ctypes.c_uint), ("when", ctypes.c_ulonglong)]
        _fields_ += [(key, ctypes.c_uint) for key in ("compute", "memory", "encoder", "decoder")]

    room = ctypes.c_uint(0)
    name, since = "nvmlDeviceGetProcessUtilization", ctypes.c_ulonglong(0)
    code = call(nvml, name, device, None, ctypes.byref(room), since)
    if code == 7 and room.value:  # too little room: it says how much there must be
        room = ctypes.c_uint(room.value + 16)
        items = (Sample * room.value)()
        code = call(nvml, name, device, items, ctypes.byref(room), since)
        if code == 0:
            shown = items[: room.value]
            return [
                (item.pid, max(item.compute, item.encoder, item.decoder))
                for item in shown
                if item.pid and max(item.compute, item.encoder, item.decoder) <= 100
            ]
    return [] if code in (0, 6) else None  # 6: no sample, since nobody used it


def nvml_reserved(nvml, device):
    """Bytes that the driver keeps for itself; None: an older driver, which does not tell."""
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint)]
        _fields_ += [(key, ctypes.c_ulonglong) for key in ("total", "reserved", "free", "used")]

    memory = Memory()
    memory.version = ctypes.sizeof(Memory) | 2 << 24
    code = call(nvml, "nvmlDeviceGetMemoryInfo_v2", device, ctypes.byref(memory))
    return memory.reserved if code == 0 and memory.reserved <= memory.total else None


def nvml_device(nvml, index):
    """Handle (None where the GPU does not answer) and identity of one GPU."""
    import ctypes

    device, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    handles = "nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetHandleByIndex"
    code = call(nvml, handles, index, ctypes.byref(device))
    if code != 0:
        return None, {"index": index, "error": nvml_error_name(nvml, code), "code": code}
    gpu = {"index": index, "uuid": nvml_text(nvml, "nvmlDeviceGetUUID", device)}
    gpu["bus"] = nvml_bus(nvml, device)
    code = call(nvml, "nvmlDeviceGetName", device, name, len(name))
    gpu["name"] = name.value.decode("utf-8", "replace")
    if not code:
        capability = "nvmlDeviceGetCudaComputeCapability"
        code = call(nvml, capability, device, ctypes.byref(major), ctypes.byref(minor))
        if code == 0:
            gpu["capability"] = [major.value, minor.value]
    if code:
        gpu["error"], gpu["code"] = nvml_error_name(nvml, code), code
    return device, gpu


def nvml_details(nvml, device):
    """What is not told stays out, or is None."""
    found = nvml_memory(nvml, device)
    found["compute_mode"] = nvml_number(nvml, "nvmlDeviceGetComputeMode", device)
    found["virtualization"] = nvml_number(nvml, "nvmlDeviceGetVirtualizationMode", device)
    found["ecc"] = nvml_first_of_two(nvml, "nvmlDeviceGetEccMode", device)
    found["uncorrected"] = nvml_uncorrected(nvml, device)
    found.update(nvml_remapped(nvml, device))
    found["throttle"] = nvml_throttle(nvml, device)
    found["processes"] = nvml_processes(nvml, device)
    found["links"] = nvml_links(nvml, device)
    found["fabric"] = nvml_fabric(nvml, device)
    found["mig"] = nvml_first_of_two(nvml, "nvmlDeviceGetMigMode", device)
    if found["mig"]:
        found["slices"] = nvml_slices(nvml, device)
    if found["virtualization"] == 2:  # a vGPU, seen from its guest
        found["license"] = nvml_license(nvml, device)
    return found


def nvml_text(nvml, name, device):
    import ctypes

    text = ctypes.create_string_buffer(96)
    if call(nvml, name, device, text, len(text)) != 0:
        return None
    return text.value.decode("ascii", "replace") or None


def nvml_number(nvml, name, device):
    import ctypes

    number = ctypes.c_uint(0)
    return number.value if call(nvml, name, device, ctypes.byref(number)) == 0 else None


def nvml_first_of_two(nvml, name, device):
    """Of a mode: the current one; the other is what a reset will make it."""
    import ctypes

    now, later = ctypes.c_uint(0), ctypes.c_uint(0)
    code = call(nvml, name, device, ctypes.byref(now), ctypes.byref(later))
    return now.value if code == 0 else None


def nvml_bus(nvml, device):
    import ctypes

    class Pci(ctypes.Structure):  # the first six are at the same place in every version
        _fields_ = [("text", ctypes.c_char * 16)]
        _fields_ += [(key, ctypes.c_uint) for key in ("domain", "bus", "slot", "id", "sub_id")]
        _fields_ += [("long_text", ctypes.c_char * 32), ("rest", ctypes.c_char * 64)]

    pci = Pci()
    names = "nvmlDeviceGetPciInfo_v3 nvmlDeviceGetPciInfo_v2 nvmlDeviceGetPciInfo"
    if call(nvml, names, device, ctypes.byref(pci)) != 0:
        return None
    return (pci.text or pci.long_text).decode("ascii", "replace") or None


def nvml_memory(nvml, device):
    """Total and free. (Of `used`, versions differ in whether the driver's own share counts.)"""
    import ctypes

    class Memory(ctypes.Structure):
        _fields_ = [(key, ctypes.c_ulonglong) for key in ("total", "free", "used")]

    memory = Memory()
    code = call(nvml, "nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
    if code in (15, 16):  # the GPU is lost, or must be reset
        return {"error": nvml_error_name(nvml, code), "code": code}
    if code != 0 or not memory.total or memory.free > memory.total:
        return {}
    return {"memory": memory.total, "free": memory.free}


def nvml_uncorrected(nvml, device):
    import ctypes

    count = ctypes.c_ulonglong(0)
    # 1: uncorrected; 0: since the driver was loaded
    code = call(nvml, "nvmlDeviceGetTotalEccErrors", device, 1, 0, ctypes.byref(count))
    return count.value if code == 0 else None


def nvml_remapped(nvml, device):
    """Rows (from Ampere on) or pages (before) that wait for a reset to be taken out of use."""
    import ctypes

    done, bad, pending, failed = (ctypes.c_uint(0) for _ in range(4))
    given = [ctypes.byref(item) for item in (done, bad, pending, failed)]
    if call(nvml, "nvmlDeviceGetRemappedRows", device, *given) == 0:
        return {"remap_pending": bool(pending.value), "remap_failed": bool(failed.value)}
    waiting = nvml_number(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", device)
    return {} if waiting is None else {"remap_pending": bool(waiting)}


def nvml_throttle(nvml, device):
    import ctypes

    bits = ctypes.c_ulonglong(0)
    names = "nvmlDeviceGetCurrentClocksEventReasons nvmlDeviceGetCurrentClocksThrottleReasons"
    return bits.value if call(nvml, names, device, ctypes.byref(bits)) == 0 else None


def nvml_processes(nvml, device):
    """[pid, bytes or None, program] of everything that uses the GPU; None: not told."""
    found = {}
    told = False
    for kind in ("Compute", "Graphics", "MPSCompute"):
        listed = nvml_running(nvml, "nvmlDeviceGet%sRunningProcesses" % kind, device)
        told = told or listed is not None
        for pid, used in listed or ():
            found[pid] = max(used or 0, found.get(pid) or 0) or None
    if not told:
        return None
    return [[pid, used, nvml_program(nvml, pid)] for pid, used in sorted(found.items())]


def nvml_running(nvml, name, device):
    import ctypes

    class Old(ctypes.Structure):
        _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong)]

    class New(ctypes.Structure):
        _fields_ = Old._fields_ + [("gpu_instance", ctypes.c_uint), ("instance", ctypes.c_uint)]

    for version, kind in (("_v3", New), ("_v2", New), ("", Old)):
        count, items = ctypes.c_uint(ENOUGH), (kind * ENOUGH)()
        code = call(nvml, name + version, device, ctypes.byref(count), items)
        if code == 0:
            unknown = (1 << 64) - 1
            return [
                (item.pid, None if item.used == unknown else item.used)
                for item in items[: count.value]
            ]
        if code is not None and code != 13:
            return None
    return None


def nvml_program(nvml, pid):
    """The file name alone: paths and arguments may be private. Empty: not in sight from here."""
    import ctypes

    text = ctypes.create_string_buffer(1024)
    if call(nvml, "nvmlSystemGetProcessName", pid, text, len(text)) != 0:
        return ""
    words = text.value.decode("utf-8", "replace").split()
    return os.path.basename(words[0]) if words else ""


def nvml_links(nvml, device):
    """[active, all] NVLinks; None: the GPU has none, or does not tell."""
    import ctypes

    active = total = 0
    for link in range(36):
        state = ctypes.c_uint(0)
        code = call(nvml, "nvmlDeviceGetNvLinkState", device, link, ctypes.byref(state))
        if code == 0:
            total += 1
            active += bool(state.value)
        elif code != 3:  # 3: not this one; anything else: no more of them
            break
    return [active, total] if total else None


def nvml_fabric(nvml, device):
    """[state, status] of the NVLink fabric that a fabric manager sets up."""
    import ctypes

    class Fabric(ctypes.Structure):
        _fields_ = [
            ("cluster", ctypes.c_ubyte * 16),
            ("status", ctypes.c_uint),
            ("clique", ctypes.c_uint),
            ("state", ctypes.c_ubyte),
            ("rest", ctypes.c_ubyte * 64),
        ]

    fabric = Fabric()
    code = call(nvml, "nvmlDeviceGetGpuFabricInfo", device, ctypes.byref(fabric))
    return [fabric.state, fabric.status] if code == 0 else None


def nvml_slices(nvml, device):
    """The MIG devices of one GPU."""
    import ctypes

    count = nvml_number(nvml, "nvmlDeviceGetMaxMigDeviceCount", device) or 0
    found = []
    for index in range(count):
        part = ctypes.c_void_p()
        if (
            call(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", device, index, ctypes.byref(part))
            != 0
        ):
            continue  # gaps are usual
        uuid = nvml_text(nvml, "nvmlDeviceGetUUID", part)
        if uuid is not None:
            one = {"uuid": uuid, "name": nvml_text(nvml, "nvmlDeviceGetName", part) or ""}
            one.update(nvml_memory(nvml, part))
            found.append(one)
    return found


def nvml_license(nvml, device):
    """Whether a feature of a vGPU is licensed; None: not told."""
    import ctypes

    def kinds(expiry):
        class Feature(ctypes.Structure):
            _fields_ = [
                ("code", ctypes.c_uint),
                ("state", ctypes.c_uint),
                ("info", ctypes.c_char * 128),
                ("product", ctypes.c_char * 128),
                ("enabled", ctypes.c_uint),
                ("expiry", ctypes.c_uint * expiry),
            ]

        class Features(ctypes.Structure):
            _fields_ = [
                ("supported", ctypes.c_uint),
                ("count", ctypes.c_uint),
                ("features", Feature * 3),
                ("rest", ctypes.c_char * 256),
            ]

        return Features()

    for version, expiry in (("_v4", 4), ("_v3", 0)):
        features = kinds(expiry)
        name = "nvmlDeviceGetGridLicensableFeatures" + version
        code = call(nvml, name, device, ctypes.byref(features))
        if code == 0:
            known = features.features[: min(features.count, 3)]
            return any(item.state for item in known) if features.supported and known else None
        if code is not None and code != 13:
            return None
    return None


# --- torch ----------------------------------------------------------------------------------


def import_level(child, names, seconds):
    """torch imported, `ssl` imported, and after torch each of the named modules, side by side."""
    calls = [(child, torch_facts), (child, module_facts, "ssl")]
    names = [name for name in names if is_there(name)]
    if names:
        calls.append((in_child, imports_facts, (names, seconds), 2 * seconds))
    found = together(calls)
    document = {"torch": found[0], "ssl": found[1]}
    if names:
        document["imports"] = found[2]
    return document


def is_there(name):
    """Whether a module's package can be found; nothing of it is run."""
    import importlib.util

    try:
        return importlib.util.find_spec(name.partition(".")[0]) is not None
    except (ImportError, ValueError, OSError):
        return False


def torch_facts(emit):
    """Import torch; what it says it was built with, and what was really loaded."""
    emit("stage", "import torch")
    keep_warnings(emit, "import_warnings")
    begun = time.monotonic()
    try:
        import torch

        if not hasattr(torch, "version"):
            import torch.version
    finally:
        emit("libraries", shared_objects())
    emit("seconds", round(time.monotonic() - begun, 3))
    emit("stage", "read the build")
    emit("file", torch.__file__)
    emit("cuda", getattr(torch.version, "cuda", None))
    emit("hip", getattr(torch.version, "hip", None))
    emit("git", getattr(torch.version, "git_version", None))
    emit("architectures", architectures(torch))
    emit("version", str(getattr(torch, "__version__", None) or torch.version.__version__))
    emit("stage", "hand a tensor to numpy")
    emit("numpy", numpy_facts(torch))
    emit("modules", module_files())
    if getattr(torch.version, "cuda", None):
        emit("stage", "ask cuDNN")
        cudnn_facts(emit, torch)
        emit("nccl", nccl_version(torch))
    emit("stage", "ask is_available()")
    availability(emit, torch)
    emit("libraries", shared_objects())


def keep_warnings(emit, key):
    """Tell each warning when it comes, apart from those that are for programmers."""
    import warnings

    kept = []
    quiet = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, SyntaxWarning)

    def show(message, category, filename, lineno, file=None, line=None):
        if not issubclass(category, quiet + (ResourceWarning,)) and len(kept) < 20:
            kept.append("%s: %s" % (category.__name__, str(message)[:1000]))
            emit(key, kept)

    warnings.showwarning = show


def numpy_facts(torch):
    """Which NumPy is imported, and whether torch and it can exchange an array."""
    try:
        import numpy
    except ModuleNotFoundError as error:
        if error.name == "numpy":
            return None
        return {"error": described(error)}
    except Exception as error:
        return {"error": described(error)}
    found = {"version": getattr(numpy, "__version__", None), "file": numpy.__file__}
    if not hasattr(torch, "zeros"):
        return found
    try:
        array = torch.zeros(1).numpy()
        found["bridge"] = float(array[0]) == 0.0 and float(torch.from_numpy(array)[0]) == 0.0
    except Exception as error:
        found["error"] = described(error)
    return found


def module_files():
    """Top-level name to file of each module that is imported now, the standard library left out."""
    standard = os.path.dirname(os.__file__) + os.sep
    found = {}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if "." in name or name in ("__main__", "__mp_main__") or not isinstance(path, str):
            continue
        inside = path[len(standard) :] if path.startswith(standard) else None
        if inside is None or inside.startswith(("site-packages", "dist-packages")):
            found[name] = path
    return found


def imports_facts(emit, names, seconds):
    """Import torch, then each module in a fork of this process, all at once.

    They share one import of torch: what follows it is what they are tried for.
    """
    emit("stage", "import torch")
    import torch

    emit("torch", str(torch.__version__))
    emit("stage", "import modules")
    calls = [(in_child, module_facts, (name,), seconds) for name in names]
    emit("runs", [dict(run, name=name) for name, run in zip(names, together(calls))])


def module_facts(emit, name):
    """Import one module: how that ended, how long it took, and what it warned of."""
    import importlib

    emit("stage", "import " + name)
    keep_warnings(emit, "warnings")
    begun = time.monotonic()
    try:
        module = importlib.import_module(name)
    finally:
        emit("seconds", round(time.monotonic() - begun, 3))
    emit("version", str(getattr(module, "__version__", None) or "") or None)
    emit("file", getattr(module, "__file__", None))


def architectures(torch):
    """`sm_80 … compute_90`, which needs no GPU; get_arch_list() is empty without one."""
    ask = getattr(getattr(torch, "_C", None), "_cuda_getArchFlags", None)
    flags = ask() if ask is not None else None
    return flags.split() if flags else []


def cudnn_facts(emit, torch):
    bound = getattr(getattr(torch, "_C", None), "_cudnn", None)
    for key, name in (
        ("cudnn_compiled", "getCompileVersion"),
        ("cudnn_loaded", "getRuntimeVersion"),
    ):
        ask = getattr(bound, name, None)
        if ask is not None:
            emit(key, dotted(ask()))
    if not hasattr(torch, "backends"):
        return
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

    if not hasattr(torch, "cuda"):
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        emit("available", bool(torch.cuda.is_available()))
        emit("device_count", torch.cuda.device_count())
    emit("warnings", [str(item.message)[:1000] for item in caught][:5])


# --- does it compute? -----------------------------------------------------------------------


def live_level(child, document, options):
    """Each device in a child of its own, then torch.compile, then all GPUs together."""
    torch = document["torch"]
    specs = [{"device": "cpu", "where": "cpu"}] + gpu_specs(child, document)
    devices = [run_device(child, spec) for spec in specs]
    devices = [run for run in devices if not run.get("hidden")]
    found = {"devices": devices}
    tried = [spec for spec in specs if wants_compile(spec, devices, torch, options.compile)]
    found["compile"] = [compile_twice(child, spec) for spec in tried]
    if torch.get("cuda") and len(specs) > 1:
        has_slices = any("MIG" in (spec.get("visible") or "") for spec in specs)
        count = 1 if has_slices else torch["device_count"]
        found["all_reduce"] = all_reduce(child, count, 60.0 + 3 * torch.get("seconds", 0.0))
    return found


def gpu_specs(child, document):
    """Every GPU that torch can see, or with MIG every slice.

    A GPU is told to its child by its UUID, which hides the others: one that is broken does not
    bring them down. Without MIG's slices being named, CUDA shows only the first of them.
    """
    count = document["torch"].get("device_count") or 0
    if not count or not document["torch"].get("cuda"):
        return [by_number(index) for index in range(count)]
    driver = document.get("driver") or {}
    if not driver:
        driver["cuda"], driver["nvml"] = together([(child, cuda_facts), (child, nvml_facts)])
    listed = [own_name(gpu) for gpu in driver["cuda"].get("gpus") or ()]
    if len(listed) != count or None in listed:
        return [by_number(index) for index in range(count)]
    if os.environ.get("CUDA_VISIBLE_DEVICES") is None and any("MIG-" in name for name in listed):
        gpus = driver["nvml"].get("gpus") or ()
        slices = [item.get("uuid") for gpu in gpus for item in gpu.get("slices") or ()]
        others = [name for name in slices if name and name not in listed]
    else:
        others = []
    return [
        {"device": "cuda:%d" % index, "where": "cuda:0", "visible": name, "ours": name in listed}
        for index, name in enumerate(listed + others)
    ]


def by_number(index):
    name = "cuda:%d" % index
    return {"device": name, "where": name, "ours": True}


def own_name(gpu):
    """What CUDA_VISIBLE_DEVICES takes; None: the driver does not tell."""
    uuid = gpu.get("uuid")
    if uuid and " MIG " in (gpu.get("name") or ""):
        return "MIG-" + uuid.partition("-")[2]
    return uuid


def run_device(child, spec):
    """A driver that does not know its own UUIDs is asked by number; a slice may be another's."""
    run = child(device_facts, spec)
    if run.get("hidden") and spec["ours"]:
        run = child(device_facts, by_number(int(spec["device"].partition(":")[2])))
    return run


def prepare(spec):
    """Before torch is imported: show one GPU, and nothing that makes arithmetic coarser."""
    if spec.get("visible"):
        os.environ["CUDA_VISIBLE_DEVICES"] = spec["visible"]
    for name in (
        "NVIDIA_TF32_OVERRIDE",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
        "DNNL_DEFAULT_FPMATH_MODE",
        "ONEDNN_DEFAULT_FPMATH_MODE",
    ):
        os.environ.pop(name, None)


def device_facts(emit, spec):
    """On one device: what is computed there against what is right."""
    emit("device", spec["device"])
    emit("visible", spec.get("visible"))
    emit("stage", "import torch")
    prepare(spec)
    import torch

    where, capability = spec["where"], None
    is_gpu = where != "cpu"
    if is_gpu:
        emit("stage", "start CUDA")
        if spec.get("visible") and torch.cuda.device_count() == 0:
            emit("hidden", True)
            return
        torch.cuda.set_device(where)
        known = torch.cuda.get_device_properties(where)
        capability = (known.major, known.minor)
        emit("name", known.name)
        emit("capability", list(capability))
        emit("memory", known.total_memory)
        emit("memory_before", memory(torch, where))
    emit("stage", "kernel")
    emit("kernel", kernel(torch, where))
    trials = Trials(emit, torch, where)
    matmuls(trials, capability if not getattr(torch.version, "hip", None) else None)
    emit("matmul", {key: trials.found[0].get(key) for key in ("right", "worst")})
    trials.add("convolution", convolution)
    emit("libraries", [path for path in shared_objects() if is_of_cuda(path)])
    attentions(trials)
    if is_gpu:
        emit("stage", "copies")
        copies(emit, torch, where)
        emit("memory_after", memory(torch, where))
    if is_gpu and getattr(torch.version, "cuda", None):
        trials.add("PTX", ptx, capability)
        emit("libraries", [path for path in shared_objects() if is_of_cuda(path)])
    emit("stage", "all done")


class Trials:
    """Runs one trial after the other; each is told as soon as it is known."""

    def __init__(self, emit, torch, where):
        self.emit, self.torch, self.where, self.found = emit, torch, where, []

    def add(self, name, work, *given):
        self.emit("stage", name)
        begun = time.monotonic()
        try:
            result = work(self.torch, self.where, *given)
        except Exception as error:
            self.tell(name, begun, {"error": described(error)})
            self.survive()
        else:
            self.tell(name, begun, result)

    def skip(self, name, reason):
        self.tell(name, time.monotonic(), {"skipped": reason})

    def tell(self, name, begun, result):
        seconds = round(time.monotonic() - begun, 3)
        self.found.append(dict(result, name=name, seconds=seconds))
        self.emit("trials", self.found)

    def survive(self):
        """Some errors end the context: then whatever follows fails, and this raises."""
        if self.where != "cpu":
            self.torch.cuda.synchronize()


def kernel(torch, device):
    """Whole numbers, so the answer is exact: 3 + 5 + 7 + … over `count` terms."""
    count = 1 << 18  # enough blocks for every multiprocessor
    numbers = torch.arange(1, count + 1, dtype=torch.int64, device=device)
    found = int((numbers * 2 + 1).sum().item())
    expected = count * (count + 1) + count
    return {"right": found == expected, "found": found, "expected": expected}


def waves(torch, step, *shape):
    """Numbers between -1 and 1 that hardly repeat, as fp32."""
    count = 1
    for size in shape:
        count *= size
    index = torch.arange(count, dtype=torch.float64)
    return torch.sin(index * step + step).to(torch.float32).reshape(*shape)


def within(found, right, bound):
    """Whether a result is within the bound everywhere; `worst` is the largest share of it."""
    worst = float(((found - right).abs() / (bound + 2.0**-149)).max())
    if worst != worst or worst == float("inf"):
        return {"right": False, "worst": None}
    return {"right": worst <= 1.0, "worst": worst}


def matmuls(trials, capability):
    """fp32 first; then what this GPU has. None: a CPU, or a GPU of another make."""
    torch = trials.torch
    trials.add("matmul fp32", matmul, "float32")
    if trials.where == "cpu":
        trials.add("matmul bf16", matmul, "bfloat16")
        return
    for name, least, dtype, work, more in (
        ("matmul tf32", (8, 0), "float32", matmul, (True,)),
        ("matmul fp16", (5, 3), "float16", matmul, ()),
        ("matmul bf16", (8, 0), "bfloat16", matmul, ()),
        ("matmul fp8", (8, 9), "float8_e4m3fn", fp8_matmul, ()),
    ):
        if capability is not None and capability < least:
            trials.skip(name, "needs a GPU of compute capability %d.%d or newer" % least)
        elif not hasattr(torch, dtype) or (work is fp8_matmul and not hasattr(torch, "_scaled_mm")):
            trials.skip(name, "this torch does not have it")
        else:
            trials.add(name, work, dtype, *more)


# Unit roundoff, 2**-(bits of the significand): what rounding to the format does at most.
ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
ROWS, INNER, COLUMNS = 32, 128, 48  # multiples of 16, as tensor cores want them


def matmul(torch, device, dtype, in_tf32=False):
    """A product in one format against fp64 on the CPU, from the same rounded factors.

    A sum of k products, rounded or truncated to fp32 at each step, is off by at most about
    2 k u (|A| |B|) with u = 2**-24; rounding the result adds u of its format (Higham, Accuracy
    and Stability of Numerical Algorithms, section 3.1). GPUs sum fp16 and bf16 products in fp32;
    CPU kernels may do it in the format itself. TF32 keeps 10 bits after the point of each
    factor, cut off or rounded, which is 2**-10 each.
    """
    plain_arithmetic(torch, in_tf32)
    left, right = factors(torch, getattr(torch, dtype))
    found = left.to(device).matmul(right.to(device)).cpu().to(torch.float64)
    plain_arithmetic(torch)
    left, right = left.to(torch.float64), right.to(torch.float64)
    product = left.matmul(right)
    step = ROUNDOFF[dtype] if device == "cpu" else ROUNDOFF["float32"]
    share = 2 * INNER * step + (2.1 * 2.0**-10 if in_tf32 else 0.0)
    bound = left.abs().matmul(right.abs()) * share + product.abs() * ROUNDOFF[dtype]
    return within(found, product, bound)


def factors(torch, form):
    left, right = waves(torch, 1.0, ROWS, INNER), waves(torch, 0.7, INNER, COLUMNS)
    return left.to(form), right.to(form)


def fp8_matmul(torch, device, dtype):
    """e4m3 factors, a bf16 result.

    The factors are fp8 already, so that only summing and the result's rounding count. Tensor
    cores of Hopper keep about 14 bits while they sum fp8 products (DeepSeek-V3 Technical Report,
    section 3.5.2), so each of the k steps may lose 2**-13.
    """
    form = getattr(torch, dtype)
    left, right = factors(torch, torch.float32)
    left, right = left.to(form), right.t().contiguous().to(form)
    one = torch.ones(1, dtype=torch.float32, device=device).reshape(())
    found = torch._scaled_mm(
        left.to(device), right.to(device).t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16
    )
    found = found[0] if isinstance(found, tuple) else found  # before 2.5 with the largest value
    found = found.cpu().to(torch.float64)
    left, right = left.to(torch.float32), right.to(torch.float32)
    left, right = left.to(torch.float64), right.to(torch.float64).t()
    product = left.matmul(right)
    size = left.abs().matmul(right.abs())
    bound = size * (INNER * 2.0**-13) + product.abs() * ROUNDOFF["bfloat16"]
    return within(found, product, bound)


def plain_arithmetic(torch, in_tf32=False):
    """fp32 is fp32, and sums of fp16 and bf16 are kept in fp32 throughout."""
    allow_tf32(torch, in_tf32)
    for name in (
        "allow_fp16_reduced_precision_reduction",
        "allow_bf16_reduced_precision_reduction",
    ):
        try:
            setattr(torch.backends.cuda.matmul, name, False)
        except Exception:  # AssertionError, AttributeError: an older torch has no such switch
            pass


def allow_tf32(torch, on):
    """The old switches set the new ones too, as long as torch has both (2.9 and later)."""
    try:
        torch.backends.cuda.matmul.allow_tf32 = on
        torch.backends.cudnn.allow_tf32 = on
    except Exception:  # a torch that has only the new ones
        precision = "tf32" if on else "ieee"
        torch.backends.cuda.matmul.fp32_precision = precision
        torch.backends.cudnn.conv.fp32_precision = precision


def convolution(torch, device):
    """Forward and both gradients in fp32, which cuDNN computes on a GPU, against fp64 on the CPU.

    cuDNN may take Winograd's or a Fourier algorithm, whose error is bounded by the largest
    entry and not by each (Higham, section 24.2): 64 times that of plain sums of 128 terms.
    """
    plain_arithmetic(torch)
    torch.backends.cudnn.deterministic = True
    shapes = ((0.9, 2, 4, 8, 8), (0.7, 4, 4, 3, 3), (0.8, 2, 4, 8, 8))
    given = [waves(torch, *shape) for shape in shapes]
    found = gradients(torch, [item.to(device) for item in given])
    right = gradients(torch, [item.to(torch.float64) for item in given])
    sizes = gradients(torch, [item.to(torch.float64).abs() for item in given])
    results = []
    for one, other, size in zip(found, right, sizes):
        bound = 64 * 128 * 2.0**-24 * float(size.max())
        results.append(within(one.cpu().to(torch.float64), other, other * 0.0 + bound))
    shares = [result["worst"] for result in results]
    return {
        "right": all(result["right"] for result in results),
        "worst": None if None in shares else max(shares),
    }


def gradients(torch, given):
    images, weights = given[0].requires_grad_(), given[1].requires_grad_()
    result = torch.nn.functional.conv2d(images, weights, padding=1)
    return [result.detach()] + list(torch.autograd.grad(result, [images, weights], given[2]))


def attentions(trials):
    """Every way that torch has to compute attention on a GPU; on a CPU the one it takes."""
    functional = getattr(getattr(trials.torch, "nn", None), "functional", None)
    if not hasattr(functional, "scaled_dot_product_attention"):
        trials.skip("attention", "this torch does not have it")
    elif trials.where == "cpu":
        trials.add("attention", attention, "float32", None)
    else:
        for name in ("flash", "efficient", "cudnn", "math"):
            chosen = attention_backend(trials.torch, name)
            if chosen is None:
                trials.skip("attention " + name, "this torch does not have it")
            else:
                trials.add("attention " + name, attention, "float16", chosen)


def attention_backend(torch, name):
    """A context in which nothing but this backend is taken; None: this torch cannot choose it."""
    import importlib

    member = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION"}.get(name)
    member = member or {"cudnn": "CUDNN_ATTENTION", "math": "MATH"}[name]
    try:
        module = importlib.import_module("torch.nn.attention")  # torch 2.3
        choose, backend = module.sdpa_kernel, getattr(module.SDPBackend, member, None)
        return None if backend is None else (lambda: choose(backend))
    except (ImportError, AttributeError):
        pass
    older = getattr(torch.backends.cuda, "sdp_kernel", None)  # torch 2.0
    if older is None or name == "cudnn":
        return None
    return lambda: older(
        enable_flash=name == "flash",
        enable_mem_efficient=name == "efficient",
        enable_math=name == "math",
    )


def attention(torch, device, dtype, chosen):
    """softmax(Q K' / sqrt(d)) V for one head against fp64 on the CPU, from the same numbers.

    With u of the format: Q and K may be scaled and their product stored in it, which moves a
    score by 3 u of the sum of its terms' sizes, and its exponential by as much; numerator and
    denominator, rounded weights and a rounded result add up to the bound below. Exponentials
    of GPUs and vectorised ones are good to some units in the last place of fp32.
    """
    size = 64
    form = getattr(torch, dtype)
    given = [waves(torch, step, size, size).to(form) for step in (0.9, 0.7, 0.8)]
    heads = [item.reshape(1, 1, size, size).to(device) for item in given]
    compute = torch.nn.functional.scaled_dot_product_attention
    if chosen is None:
        found = compute(*heads)
    else:
        with chosen():
            found = compute(*heads)
    found = found.cpu().to(torch.float64).reshape(size, size)
    query, key, value = [item.to(torch.float64) for item in given]
    weights = torch.softmax(query.matmul(key.t()) / 8.0, 1)
    largest = float(query.abs().matmul(key.abs().t()).max()) / 8.0
    step, single = ROUNDOFF[dtype], ROUNDOFF["float32"]
    slack = (8 * largest + 8) * step + (64 + 2 * size) * single
    return within(found, weights.matmul(value), weights.matmul(value.abs()) * slack)


def memory(torch, device):
    """Free and total as the driver counts them, allocated and reserved as torch does."""
    found = {}
    ask = getattr(torch.cuda, "mem_get_info", None)  # torch 1.11
    if ask is not None:
        found["free"], found["total"] = ask(device)
    for key, name in (
        ("allocated", "memory_allocated"),
        ("reserved", "memory_reserved"),
        ("most_allocated", "max_memory_allocated"),
        ("most_reserved", "max_memory_reserved"),
    ):
        ask = getattr(torch.cuda, name, None)
        if ask is not None:
            found[key] = ask(device)
    return found


def copies(emit, torch, device):
    """Each way of copying, compared by content; GB/s of the best of three."""
    free = memory(torch, device).get("free")
    size = next((s for s in (64 << 20, 4 << 20) if free is None or free >= 8 * s), None)
    if size is None:
        emit("copies_skipped", "only %d MiB of its memory are free" % (free >> 20))
        return
    count, found = size // 4, []
    here = torch.arange(count, dtype=torch.int32)
    there = torch.arange(count, dtype=torch.int32, device=device)
    for name, source, target, pinned in (
        ("host to device, pageable", here, there, None),
        ("host to device, pinned", here, there, "source"),
        ("device to device", there, there, None),
        ("device to host, pageable", there, here, None),
        ("device to host, pinned", there, here, "target"),
    ):
        emit("stage", "copies: " + name)
        try:
            result = copy(torch, source, target, pinned)
        except RuntimeError as error:
            found.append({"name": name, "error": described(error)})
            emit("copies", found)
            torch.cuda.synchronize()  # raises where the context is lost
        else:
            found.append(dict(result, name=name, bytes=size))
            emit("copies", found)


def copy(torch, source, model, pinned):
    """Copy `source` to a new tensor where `model` is, which also holds what must arrive."""
    target = torch.empty_like(model)
    source = source.pin_memory() if pinned == "source" else source
    target = target.pin_memory() if pinned == "target" else target
    times = []
    for _ in range(3):
        target.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        target.copy_(source, non_blocking=pinned is not None)
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    moved = 4 * source.numel()
    best = min(times)
    return {
        "right": bool(torch.equal(target, model)),
        "gigabytes_per_second": round(moved / best / 1e6, 2) if best > 0 else None,
    }


# --- PTX, which the driver itself compiles ---------------------------------------------------


def ptx(torch, device, capability):
    """A kernel that NVRTC makes PTX of and the driver machine code, as programs do at run time.

    torch's own kernels mostly come as machine code: where they run, this may still fail.
    """
    import ctypes

    path = nvrtc_path(torch)
    if path is None:
        return {"skipped": "no NVRTC was found with this torch"}
    numbers = torch.zeros(256, dtype=torch.int32, device=device)
    torch.cuda.synchronize()
    code = compiled_ptx(ctypes.CDLL(path), capability)
    launch(code, numbers.data_ptr())
    torch.cuda.synchronize()
    found = [int(value) for value in numbers.cpu()]
    return {"right": found == [2 * index + 1 for index in range(256)]}


KERNEL = b'extern "C" __global__ void odd(int *p) { int i = threadIdx.x; p[i] = 2 * i + 1; }'


def nvrtc_path(torch):
    """The NVRTC that torch would use: its own loader library brings it."""
    import ctypes

    folder = os.path.join(os.path.dirname(torch.__file__), "lib")
    major = str(torch.version.cuda).partition(".")[0]
    for name in (
        os.path.join(folder, "libcaffe2_nvrtc.so"),
        "libcaffe2_nvrtc.so",
        "libnvrtc.so." + major,
        "libnvrtc.so.11.2",
        "libnvrtc.so." + str(torch.version.cuda),
        None,
    ):
        for path in shared_objects():
            file = os.path.basename(path)
            if file.startswith("libnvrtc") and "builtins" not in file:
                return path
        if name is not None:
            try:
                ctypes.CDLL(name)
            except OSError:
                pass  # the next one
    return None


def compiled_ptx(nvrtc, capability):
    """PTX for this GPU, or for the newest before it that this NVRTC knows."""
    import ctypes

    program, size = ctypes.c_void_p(), ctypes.c_size_t(0)
    check_nvrtc(
        nvrtc,
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), KERNEL, b"odd.cu", 0, None, None),
        program,
    )
    option = b"--gpu-architecture=compute_%d" % known_architecture(nvrtc, capability)
    options = (ctypes.c_char_p * 1)(option)
    check_nvrtc(nvrtc, nvrtc.nvrtcCompileProgram(program, 1, options), program)
    check_nvrtc(nvrtc, nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)), program)
    text = ctypes.create_string_buffer(size.value)
    check_nvrtc(nvrtc, nvrtc.nvrtcGetPTX(program, text), program)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return text


def known_architecture(nvrtc, capability):
    import ctypes

    wanted, count = capability[0] * 10 + capability[1], ctypes.c_int(0)
    if not hasattr(nvrtc, "nvrtcGetNumSupportedArchs"):  # CUDA 11.2
        return wanted
    if nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)) or not count.value:
        return wanted
    numbers = (ctypes.c_int * count.value)()
    if nvrtc.nvrtcGetSupportedArchs(numbers):
        return wanted
    return max([number for number in numbers if number <= wanted] or [wanted])


def check_nvrtc(nvrtc, code, program):
    import ctypes

    if not code:
        return
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    size = ctypes.c_size_t(0)
    log = b""
    if program.value and nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0:
        text = ctypes.create_string_buffer(max(size.value, 1))
        if nvrtc.nvrtcGetProgramLog(program, text) == 0:
            log = text.value
    words = (nvrtc.nvrtcGetErrorString(code) or b"") + b": " + log.strip()
    raise RuntimeError("NVRTC error %d: %s" % (code, words.decode("utf-8", "replace")))


def launch(code, address):
    """Hand PTX to the driver, and run its kernel in the context that torch has made current."""
    import ctypes

    cuda = ctypes.CDLL("libcuda.so.1")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    pointer = ctypes.c_void_p(address)
    parameters = (ctypes.c_void_p * 1)(ctypes.addressof(pointer))
    none = ctypes.c_void_p(None)

    def check(name, *given):
        status = getattr(cuda, name)(*given)
        if status:
            raise RuntimeError("%s: %s (%d)" % (name, cuda_error_name(cuda, status), status))

    check("cuModuleLoadData", ctypes.byref(module), code)
    check("cuModuleGetFunction", ctypes.byref(function), module, b"odd")
    check("cuLaunchKernel", function, 1, 1, 1, 256, 1, 1, 0, none, parameters, none)
    check("cuCtxSynchronize")


# --- torch.compile --------------------------------------------------------------------------


def wants_compile(spec, devices, torch, choice):
    """The first good GPU of each compute capability; the CPU where there is no CUDA build."""
    runs = {run.get("device"): run for run in devices if (run.get("kernel") or {}).get("right")}
    run = runs.get(spec["device"])
    if choice == "no" or run is None:
        return False
    if spec["device"] != "cpu":
        alike = [name for name in runs if runs[name].get("capability") == run.get("capability")]
        return alike[0] == spec["device"]
    if choice == "yes":
        return True
    return choice == "auto" and not (torch.get("cuda") or torch.get("hip")) and has_compiler()


def has_compiler():
    import shutil

    return shutil.which(os.environ.get("CXX") or "g++") is not None


def compile_twice(child, spec):
    """In two fresh processes with an empty cache of their own: the second must find the first."""
    import shutil
    import tempfile

    try:
        folder = tempfile.mkdtemp(prefix="envforge-probe-")
    except OSError as error:
        return {"device": spec["device"], "first": {"ended": "error", "error": described(error)}}
    try:
        found = {"device": spec["device"], "first": child(compile_facts, spec, folder)}
        if found["first"]["ended"] == "done":
            found["second"] = child(compile_facts, spec, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def compile_facts(emit, spec, folder):
    """torch.compile of a small function, its result, and what the caches say."""
    emit("stage", "import torch")
    prepare(spec)
    os.environ.update(
        TORCHINDUCTOR_CACHE_DIR=os.path.join(folder, "inductor"),
        TRITON_CACHE_DIR=os.path.join(folder, "triton"),
        TORCHINDUCTOR_FX_GRAPH_CACHE="1",
        TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE="0",
        TORCHINDUCTOR_COMPILE_THREADS="1",  # no pool of processes that would outlive us
    )
    import torch

    if not hasattr(torch, "compile"):
        emit("skipped", "torch %s has no torch.compile" % torch.__version__)
        return
    emit("stage", "compile")
    begun = time.monotonic()
    given = waves(torch, 0.9, 4096)
    compiled = torch.compile(lambda x: torch.sin(x) * 2.0 + torch.cos(x), fullgraph=True)
    found = compiled(given.to(spec["where"])).cpu().to(torch.float64)
    emit("seconds", round(time.monotonic() - begun, 2))
    given = given.to(torch.float64)
    right = torch.sin(given) * 2.0 + torch.cos(given)
    emit("result", within(found, right, right.abs() * 0.0 + 64 * 2.0**-24))
    emit("stage", "ask the caches")
    emit("counters", cache_counters())


def cache_counters():
    """Hits and misses of the caches of inductor and AOTAutograd; empty: this torch counts none."""
    try:
        from torch._dynamo.utils import counters
    except ImportError:
        return {}
    return {
        name: int(number)
        for group in ("inductor", "aot_autograd")
        for name, number in dict(counters.get(group) or {}).items()
        if "cache" in name and isinstance(number, int)
    }


# --- all GPUs together ----------------------------------------------------------------------


def all_reduce(child, count, seconds):
    """NCCL over all GPUs, a process each; where it hangs, once more without direct copies."""

    def shorter(work, *given):
        return child(work, *given, seconds=seconds)

    runs = [all_reduce_once(shorter, count, False)]
    if count > 1 and any(rank["ended"] == "timeout" for rank in runs[0]):
        runs.append(all_reduce_once(shorter, count, True))
    return {"world": count, "runs": runs}


def all_reduce_once(child, count, without_p2p):
    import shutil
    import tempfile

    try:
        folder = tempfile.mkdtemp(prefix="envforge-probe-")
    except OSError as error:
        return [{"ended": "error", "error": described(error)}]
    try:
        meeting = os.path.join(folder, "meeting")
        return together(
            [(child, all_reduce_facts, rank, count, meeting, without_p2p) for rank in range(count)]
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def all_reduce_facts(emit, rank, count, meeting, without_p2p):
    """One rank: whole numbers are summed, so the answer is exact."""
    import datetime

    emit("stage", "import torch")
    os.environ.setdefault("NCCL_DEBUG", "WARN")
    if without_p2p:
        os.environ["NCCL_P2P_DISABLE"] = "1"
    import torch

    distributed = getattr(torch, "distributed", None)
    if not getattr(distributed, "is_nccl_available", lambda: False)():
        emit("skipped", "this torch has no NCCL")
        return
    emit("stage", "start CUDA")
    torch.cuda.set_device(rank)
    numbers = torch.full((1 << 20,), float(rank + 1), device="cuda:%d" % rank)
    emit("stage", "meet the others")
    begun = time.monotonic()
    distributed.init_process_group(
        "nccl", init_method="file://" + meeting, world_size=count, rank=rank,
        timeout=datetime.timedelta(hours=1),  # ours comes first
    )  # fmt: skip
    emit("stage", "all-reduce")
    distributed.all_reduce(numbers)
    torch.cuda.synchronize()
    emit("seconds", round(time.monotonic() - begun, 2))
    total = count * (count + 1) / 2.0
    emit("right", float(numbers.min().item()) == total == float(numbers.max().item()))


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


def is_of_cuda(path):
    """The driver's, the toolkit's and cuDNN's libraries, of which two copies do harm."""
    return os.path.basename(path).startswith(
        ("libcuda", "libcudnn", "libcublas", "libnvrtc", "libnccl", "libnvJitLink", "libcufft")
        + ("libcusparse", "libcusolver", "libnvidia")
    )


if __name__ == "__main__":
    main()
    os._exit(0)  # what else has hooks that run at exit may hang there
