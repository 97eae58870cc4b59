"""The parts of a lease, in the order of importance."""

import contextlib
import glob
import os
import re
import sys
from dataclasses import dataclass, replace
from typing import Callable

import asking
import limits
import results
import table
import training
from asking import Failed
from networks import B, CUDNN, COMPILED, EAGER, HATCHERY, HATCHERY_FLAGS, L, MICRO, PYTORCH_FLAGS, REGIONAL, T32, T128, TINY, UNTIMED


class NoCard(Failed):
    """There is no GPU, so no other part can run."""


class Absent(Exception):
    """A part is not possible on this machine."""


@dataclass(frozen=True)
class Part:
    """A part of a lease.

    It may take `most` seconds and is left out if fewer than `least` are left.
    do(lease, seconds) returns the text for the summary.
    """

    name: str
    most: float
    least: float
    do: Callable


@dataclass(frozen=True)
class Phase:
    """Parts that must end before the fraction `until` (0 to 1) of the lease's time has
    passed, so that parts that hang leave time for the next phases. beside(lease) returns
    lists of commands to run in the background."""

    until: float
    parts: list
    beside: Callable = None
    always: bool = False  # even if only other parts were requested


# --- implementation of parts


def execute(lease, line, seconds, folder=".", **options):
    """Runs a command in a folder of the unpacked archive."""
    if not os.path.dirname(line[0]) and not lease.which(line[0]):
        raise Absent(f"{line[0]} is not on this machine")
    try:
        return limits.execute(line, seconds, lease.log, cwd=os.path.join(lease.place, folder), env=lease.environment, **options)
    except FileNotFoundError as e:
        raise Failed(f"{e.filename} is missing") from e


def command(make):
    """Runs the command that make(lease) returns."""

    def do(lease, seconds):
        ended = execute(lease, make(lease), seconds)
        if ended.status:
            raise Failed(ended.why())
        return ""

    return do


def tests(package, *arguments, tool=(), want="", rehearsal=""):
    """Runs the tests of a package of engine/cuda, optionally under a tool. The test named
    by want must pass, because a pattern without matching subtests also counts as success.
    A rehearsal runs only short tests that match the pattern rehearsal."""
    folder = "engine/cuda" if package == "cuda" else "engine/cuda/" + package

    def do(lease, seconds):
        chosen = ["-test.short"] if lease.emulation else []
        if lease.emulation and rehearsal:
            chosen += ["-test.run", rehearsal]
        line = [*tool, lease.program(package + ".test"), "-test.v", *arguments, *chosen]
        try:
            ended = execute(lease, line, seconds, folder)
        except limits.TimedOut as e:
            say_failures(lease, e.said)
            raise
        failures = say_failures(lease, ended.said)
        if ended.status:
            raise Failed(f"status {ended.status}" if failures else ended.why())
        if not re.search(r"^ *--- PASS: " + want, ended.said, re.M):
            raise Failed("no such test ran")
        return ""

    return do


def say_failures(lease, said):
    """Reports the failed tests in at most 8 lines, tests before their subtests (which are
    indented), so that the subtests of one test do not hide another."""
    failures = re.findall(r"^ *(?:--- FAIL: .*|panic: .*|.*(?:ERROR|RACECHECK) SUMMARY: .*)$", said, re.M)
    failures.sort(key=lambda line: len(line) - len(line.lstrip()))
    for line in failures[:8]:
        lease.say("  " + line.strip()[:160])
    if len(failures) > 8:
        lease.say(f"  ... and {len(failures) - 8} more in log.txt")
    return failures


def environment(lease, seconds):
    """Reports the card and notes it for the table."""
    query = ["nvidia-smi", "--format=csv,noheader", "--query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit,memory.total"]
    ended = execute(lease, query, seconds)
    if ended.status:
        raise Failed(f"nvidia-smi: {ended.why()}")
    card = ended.said.strip()
    lease.results.note("environment", "card", card)
    return card


def doctor(lease, seconds):
    """Runs hatchery doctor, which must find the card and cuBLAS. If it does not find cuBLAS,
    the lease uses the one in the NVIDIA packages of this Python and reports that."""
    said = doctors_words(lease, seconds)
    if re.search(r"^cuBLAS +missing", said, re.M):
        folder = packaged_cublas()
        if not folder:
            raise Failed("cuBLAS WAS NOT FOUND by hatchery, and this Python has none either")
        lease.say(f"  cuBLAS WAS NOT FOUND by hatchery: it goes on with HATCHERY_CUBLAS={folder}, of this Python")
        lease.environment["HATCHERY_CUBLAS"] = folder
        again = doctors_words(lease, seconds)
        if not re.search(r"^cuBLAS +\d", again, re.M):
            raise Failed("cuBLAS of this Python was not accepted either: see log.txt")
        raise Failed("hatchery did not find cuBLAS by itself")
    return "; ".join(re.sub(r" +", " ", x) for x in re.findall(r"^(?:GPU 0|GPU driver|cuBLAS) .*$", said, re.M))


def doctors_words(lease, seconds):
    ended = execute(lease, [lease.program("hatchery"), "doctor"], seconds)
    if none := re.findall(r"^GPU +(none.*)$", ended.said, re.M):
        raise NoCard(f"hatchery doctor: GPU {none[0][:300]}")
    if ended.status:
        raise Failed(f"hatchery doctor: {ended.why()}")
    if not re.search(r"^GPU 0 ", ended.said, re.M):
        raise Failed("hatchery doctor names no GPU: see log.txt")
    return ended.said


def packaged_cublas():
    """Returns the folder of cuBLAS among this Python's packages, or ""."""
    for packages in sys.path:
        for pattern in ("nvidia/cu[0-9]*/lib", "nvidia/cublas/lib"):
            for folder in sorted(glob.glob(os.path.join(packages, pattern)), reverse=True):
                if glob.glob(os.path.join(folder, "libcublasLt.so.*")):
                    return folder
    return ""


def pytorch(lease, seconds):
    """Checks that this Python has PyTorch and timm. Without them a rehearsal uses the
    stand-in, and a card is measured without PyTorch."""
    ask = "import torch, timm; print('PyTorch', torch.__version__ + ', timm', timm.__version__)"
    ended = execute(lease, [sys.executable, "-c", ask], seconds)
    if ended.status == 0:
        lease.peer = [sys.executable, lease.file("engine/cuda/bench/pytorch.py")]
        if lease.emulation:
            lease.peer += ["--device", "cpu"]
        return ended.said.strip().splitlines()[-1]
    if not lease.emulation:
        raise Failed(f"{sys.executable} cannot import torch and timm, so PyTorch's rows will be missing: {ended.why()}")
    lease.peer = [sys.executable, lease.file("engine/cuda/bench/standin.py")]
    return "none here: a stand-in answers for it, whose times mean nothing"


def compiling(lease):
    """Returns commands that fill PyTorch's cache of compiled graphs while nothing is timed:
    two lists that run concurrently and fit on a card of 80 GB together with the tests. For
    block-by-block compilation a few blocks suffice, since all have the same graphs."""
    if not lease.peer:
        return []
    lists = [[(T32, COMPILED), (B, COMPILED)], [(replace(T128, depth=4), REGIONAL), (B, CUDNN), (L, CUDNN)]]
    return [[[*lease.peer, *lease.network(n).flags(), *PYTORCH_FLAGS[p], "--warm"] for n, p in one] for one in lists]


def measured(network, program, *lines):
    """Measures a program of the benchmark."""

    def do(lease, seconds):
        shape = lease.network(network)
        if program in HATCHERY_FLAGS:
            flags = HATCHERY_FLAGS[program]
            if lease.emulation and program == MICRO:
                flags = ["-micro", "2"]
            line = [lease.program("bench"), *shape.flags(), *flags]
        elif lease.peer:
            line = [*lease.peer, *shape.flags(), *PYTORCH_FLAGS[program]]
        else:
            raise Absent("no PyTorch")
        return ask(lease, f"{network.name}/{program}", line, lines, seconds, network=network.name, program=program, batch=shape.batch)

    return Part(f"{network.name}/{program}", 45, 15, do)


def ask(lease, part, line, lines, seconds, **more):
    deadline = lease.clock() + seconds
    try:
        with asking.Program(line, deadline, lease.log, cwd=lease.place, env=lease.environment) as program:
            asking.measure(program, lines, lease.round_seconds, lambda what, value: lease.results.note(part, what, value, **more))
    except Failed as e:
        lease.results.note(part, "failed", str(e), **more)
        raise
    return ""


def roof(lease, seconds):
    side = 16 if lease.emulation else 8192
    return ask(lease, "roof", [lease.program("bench"), *TINY.flags()], [f"roof {side}"], seconds)


def choices(network):
    """Times each algorithm that cublasLt lists for each product."""

    def do(lease, seconds):
        line = [lease.program("bench"), *lease.network(network).flags()]
        return ask(lease, f"{network.name}/choices", line, ["choices 5"], seconds, network=network.name, program="products")

    return Part(f"{network.name}/choices", 40, 15, do)


def ncu(lease, seconds):
    """Profiles the three slowest kernels of a step with Nsight Compute."""
    if not lease.which("ncu"):
        raise Absent("ncu is not on this machine")
    deadline = lease.clock() + seconds
    kinds = [r["value"] for r in lease.before if r["what"] == "profile" and r.get("network") == T32.name and asking.fits("profile", r["value"])]
    line = [lease.program("bench"), *lease.network(T32).flags()]
    if not kinds:
        with asking.Program(line, deadline, lease.log, cwd=lease.place, env=lease.environment) as program:
            asking.measure(program, ["profile 1"], 0, lambda _, value: kinds.append(value))
    failed = []
    with contextlib.closing(lease.growing("ncu.txt")) as file:
        names = slowest_kernels(kinds[-1])
        for i, name in enumerate(names):
            left = (deadline - lease.clock()) / (len(names) - i)
            how = {"target-processes": "all", "clock-control": "none", "set": "basic", "launch-count": "1", "kernel-name": "regex:" + name}
            tool = ["ncu", *(x for option, value in how.items() for x in ("--" + option, value))]
            try:
                ended = limits.execute([*tool, *line], left, file, stdin="steps 1\n", cwd=lease.place, env=lease.environment)
                failed += [f"{name}: {ended.why()}"] if ended.status else []
            except limits.TimedOut as e:
                failed.append(f"{name}: {e}")
    if failed:
        raise Failed("; ".join(failed))
    return ", ".join(names)


# Names of cuBLAS's kernels; the description of a product is not the name of a kernel.
CUBLAS_KERNELS = "nvjet|gemm|cutlass|xmma"


def slowest_kernels(profile):
    """Returns patterns of the names of the three kernels that take most of a step's time."""
    took = {}
    for kind in profile:
        name = kind["Kernel"] if re.fullmatch(r"\w+", kind["Kernel"]) else CUBLAS_KERNELS
        took[name] = took.get(name, 0) + kind["Microseconds"]
    return sorted(took, key=took.get, reverse=True)[:3]


def train(long):
    """Runs hatchery for a few epochs, or for as many as fit into the time."""

    def do(lease, seconds):
        plan = training.Plan.long(lease.before, 0.8 * seconds) if long else training.SHORT
        if lease.emulation:
            plan = training.Plan(1, 1, 1, 1)
        part = "train-long" if long else "train"
        events = os.path.join(lease.work, part + ".jsonl")
        line = [lease.program("hatchery"), "run", "fashion-deit", "--json"]
        for setting in training.settings(plan, lease.images, lease.emulation):
            line += ["-s", setting]
        try:
            with contextlib.closing(results.Growing(events, lease.complain, "wb")) as file:
                environment = {**lease.environment, "HATCHERY_RUNS": os.path.join(lease.work, "runs")}
                ended = limits.execute(line, seconds, lease.log, stdout=file, cwd=lease.work, env=environment)
        finally:  # partial results count, even if the time was up
            found = training.summarize(events)
            lease.results.note(part, "training", {**found, "data": training.data(lease.images), "emulation": lease.emulation})
        if ended.status:
            raise Failed(ended.why())
        if not found["methods"]:
            raise Failed("it ended without results")
        if missing := [m for m, v in found["methods"].items() if not table.is_number(v.get("top1"))]:
            raise Failed(f"it reported no top-1 accuracy of {', '.join(missing)}")
        return f"{plan}; " + ", ".join(f"{m}: {table.percent(v.get('top1'))}" for m, v in found["methods"].items())

    return do


# --- the lists


def rest_of_tests(lease, seconds):
    """Runs the test programs of the archive that no other part runs."""
    named = {"driver", "nvml", "blas", "kernels", "cuda"}
    others = sorted(os.path.basename(p)[: -len(".test")] for p in glob.glob(lease.program("*.test")))
    others = [p for p in others if p not in named]
    for i, p in enumerate(others):
        # The tests of the lease itself need the sources.
        tests(p, "-test.skip", "^TestLease", rehearsal="^TestServe")(lease, seconds / (len(others) - i))
    return ", ".join(others)



def sanitized(tool, names):
    """Runs some tests of the kernels under a tool of compute-sanitizer. Because it is slow,
    they use only two lengths of sequences and one width. The pattern has one part for
    each level of subtests."""
    pattern = f"^({names})$/^(65|197)$/^64$/bf16"
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    return Part(tool, 40, 20, tests("kernels", "-test.run", pattern, want="TestAttention/.*/64/bf16", tool=command))


START = [
    Part("environment", 15, 5, environment),
    Part("doctor", 30, 5, doctor),
    Part("pytorch", 60, 5, pytorch),
]

CHECKS = [
    Part("driver", 40, 10, tests("driver")),
    Part("nvml", 15, 5, tests("nvml")),
    Part("jit", 30, 5, tests("kernels", "-test.run", "^TestClassToken$")),
    Part("blas", 60, 10, tests("blas")),
    Part("kernels", 90, 20, tests("kernels", rehearsal="^(TestGELU|TestLayerNorm)$")),
    Part("cuda", 90, 20, tests("cuda", rehearsal="^(TestGradients|TestProfile)$")),
    sanitized("memcheck", "TestAttention"),
    sanitized("racecheck", "TestAttention|TestLayerNormBackwardOfManyRows"),
    Part("other-tests", 40, 10, rest_of_tests),
]

MEASUREMENTS = [
    Part("roof", 25, 10, roof),
    measured(T32, HATCHERY, "steps", "replay 20", "profile 3"),
    measured(T32, COMPILED, "steps"),
    measured(B, HATCHERY, "steps", "replay 10", "profile 3"),
    measured(B, CUDNN, "steps"),
    measured(T128, HATCHERY, "steps", "replay 5", "profile 2"),
    measured(T128, REGIONAL, "steps"),
    measured(L, HATCHERY, "steps", "replay 5", "profile 2"),
    measured(L, CUDNN, "steps"),
    measured(T32, UNTIMED, "steps", "replay 20"),
    measured(B, UNTIMED, "steps", "replay 10"),
    measured(T32, EAGER, "steps"),
    measured(B, COMPILED, "steps"),
]

REMAINDER = [
    measured(B, EAGER, "steps"),
    measured(T32, CUDNN, "steps"),
    measured(T32, MICRO, "steps"),
    measured(L, COMPILED, "steps"),
    measured(L, EAGER, "steps"),
    measured(T128, EAGER, "steps"),
]

FIRST = [
    Phase(0.25, START, always=True),
    Phase(0.42, CHECKS, beside=compiling),
    Phase(0.86, MEASUREMENTS),
    Phase(0.97, [Part("train", 75, 30, train(long=False))]),
    Phase(1, REMAINDER),
]


def more(before):
    """The second, shorter list, for what a run with the results of before left open."""
    missed = {r["part"] for r in before if r["what"] == "outcome" and r["value"] == "left out"}
    again = [p for phase in FIRST for p in phase.parts if p.name in missed]
    return [
        Phase(0.3, START, always=True),
        Phase(0.55, [choices(T32), Part("ncu", 60, 25, ncu)]),
        Phase(0.9, [Part("train-long", 400, 40, train(long=True))]),
        Phase(1, [choices(B), *again]),
    ]
