"""Kills a run at every kind of moment, makes its system calls fail, and compares the weights.

    python3 engine/launch/kills.py                          # 40 kills, 40 failures: some minutes
    python3 engine/launch/kills.py --kills 6 --failures 6   # the short form
    python3 engine/launch/kills.py --seed 7 --only kill-12  # repeats one case

Each case is a run of its own that lasts a moment: in the foreground, detached, in the
queue, as a study, or stage by stage. Its first process is killed, at a system call or
at a moment, and one in three times the next one too; or one of its system calls fails, or
all from one on. Then the run is resumed until it is done, and the tensors of every stage must be those of a run that nothing
happened to, bit for bit. In between `runs` and `status` must work; a process that fails must
name the file; and in the end no file may be left that an undisturbed run does not leave.

Needs Go (or --hatchery), strace, and the right to trace processes. Without those it says
so and ends with 0, but where CI=true with 1. Points are drawn from the seed, which is
printed; a system call is counted within its thread, so where exactly a process ends
depends on how Go spreads its threads. The folder of a case that fails is kept.
"""

import argparse
import collections
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

FORMS = ["run", "detached", "study", "queued", "stages"]
STAGES = ["meta", "module-1", "module-2", "assemble", "finetune", "e2e"]
METHODS = ["assembling", "e2e"]

# What a word stands for in the language of strace: processors differ in which they have.
CALLS = {
    "open": "?open,openat",
    "rename": "?rename,?renameat,renameat2",
    "link": "?link,linkat",
    "unlink": "?unlink,unlinkat",
    "mkdir": "?mkdir,mkdirat",
    "fsync": "fsync",
    "write": "write",
    "close": "close",
}
KILLS = ["moment", "rename", "fsync", "link", "write", "unlink", "mkdir", "close"]
FAILURES = [
    ("rename", ["EIO", "ENOSPC", "EACCES"]),
    ("write", ["EIO", "ENOSPC"]),
    ("open", ["EMFILE", "EACCES", "EIO"]),
    ("fsync", ["EIO", "ENOSPC"]),
    ("link", ["EIO", "ENOSPC", "EACCES"]),
    ("mkdir", ["EIO", "ENOSPC", "EACCES"]),
    ("unlink", ["EIO", "EACCES"]),
    ("close", ["EIO"]),
]

PATIENCE = 90  # seconds for one command
TRIES = 6  # to bring a run to its end


class Broken(Exception):
    """Something that must hold does not."""


class Place:
    """The folder of one case: its runs, its system's temporary folder, its cache."""

    def __init__(self, world, name, keep=False):
        self.world, self.dir = world, os.path.join(world.dir, name)
        self.runs, self.temp = os.path.join(self.dir, "runs"), os.path.join(self.dir, "tmp")
        self.trace, self.said = os.path.join(self.dir, "trace"), os.path.join(self.dir, "said")
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
            os.makedirs(self.temp)
        self.env = dict(os.environ, HATCHERY_RUNS=self.runs, TMPDIR=self.temp, XDG_CACHE_HOME=os.path.join(self.dir, "cache"))

    def do(self, *args, under=(), kill_after=None):
        """Executes hatchery and returns its exit code and what it printed; None for a code if it was killed as asked."""
        with open(self.said, "ab") as log:
            log.write(f"\n$ {' '.join([*under, 'hatchery', *args])}\n".encode())
            log.flush()
            at = log.tell()
            p = subprocess.Popen([*under, self.world.hatchery, *args], cwd=self.dir, env=self.env,
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
            try:
                code = p.wait(kill_after if kill_after is not None else PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
                code = None
                if kill_after is None:
                    raise Broken(f"`hatchery {' '.join(args)}` did not end within {PATIENCE} s")
        with open(self.said, encoding="utf-8", errors="replace") as f:
            f.seek(at)
            text = f.read()
        if "\npanic: " in text or text.startswith("panic: "):
            raise Broken(f"`hatchery {' '.join(args)}` panicked:\n{text}")
        return code, text

    def ids(self, *folder):
        """The runs, or the studies, that are there."""
        try:
            names = sorted(os.listdir(os.path.join(self.runs, *folder)))
        except FileNotFoundError:
            return []
        return [n for n in names if n[0] != "." and n != "studies"]

    def traced(self):
        """The lines that strace wrote of each thread."""
        return [read(os.path.join(self.dir, n)).splitlines() for n in os.listdir(self.dir) if n.startswith("trace.")]

    def end(self):
        """Kills what still executes a run here: after a command that did not end, say."""
        for folder, _, names in os.walk(self.runs):
            for name in names:
                try:
                    with open(os.path.join(folder, name), encoding="utf-8") as f:
                        pid = name.endswith(".json") and json.load(f)["pid"]
                    if pid and os.readlink(f"/proc/{pid}/exe") == self.world.hatchery:
                        os.kill(pid, signal.SIGKILL)
                except (OSError, ValueError, KeyError, TypeError):
                    pass  # no status, or of a process that has ended

    def tell(self):
        """What the processes of the runs have left as their words: logs and states."""
        texts = []
        for folder, _, names in os.walk(self.runs):
            for name in names:
                if name in ("log.txt", "status.json") or name.endswith((".log", ".json")) and os.path.basename(folder) == "attempts":
                    with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                        texts.append(f.read())
        return "\n".join(texts)

    def later(self):
        """Lets an hour pass, as far as files tell it, and new processes work in every folder: they collect what is left."""
        for top in (self.runs, self.temp, self.env["XDG_CACHE_HOME"]):
            for folder, _, names in os.walk(top, topdown=False):
                for path in [*(os.path.join(folder, n) for n in names), folder]:
                    past = os.lstat(path).st_mtime - 3600
                    os.utime(path, (past, past), follow_symlinks=False)
                    if path.endswith(".index"):
                        os.remove(path)  # so that it is written anew
        before = self.ids()
        for args in [*(["resume", i] for i in before), ["run", self.world.preset, "-s", 'run.methods=["e2e"]']]:
            code, text = self.do(*args)
            if code != 0:
                raise Broken(f"`hatchery {' '.join(args)}` fails afterwards with {code}: {text}")
        for i in set(self.ids()) - set(before):
            shutil.rmtree(os.path.join(self.runs, i))

    def files(self):
        """All files, as paths in which names of runs and attempts are the same in every place."""
        ids = self.ids() + self.ids("studies")
        found = set()
        for top in (self.runs, self.temp, self.env["XDG_CACHE_HOME"]):
            for folder, _, names in os.walk(top):
                for name in names:
                    path = os.path.relpath(os.path.join(folder, name), self.dir)
                    for i in ids:
                        path = path.replace("/" + i + "/", "/" + plain(i) + "/")
                    found.add(re.sub(r"\.a?\d+(\.\w+)$", r".N\1", path))
        return found


def plain(run):
    """The name of a run without the time and the letters that tell it from others."""
    return re.sub(r"-\d{8}-\d{6}-\w{4}$", "", run)


class World:
    """What all cases share: the program, the pictures, the presets and the weights to compare with."""

    def __init__(self, directory, hatchery):
        self.dir, self.hatchery = directory, hatchery
        pictures(os.path.join(directory, "pictures"))
        self.preset, self.study = os.path.join(directory, "tiny.toml"), os.path.join(directory, "both.toml")
        with open(self.preset, "w", encoding="utf-8") as f:
            f.write(f"""extends = "quickstart"
schedule = "2+2"
[model]
image = 16
channels = 3
patch = 8
width = 16
depth = 2
heads = 2
classes = 2
[modules]
k = 2
[data]
name = "folder"
root = {json.dumps(os.path.join(directory, "pictures"))}
[run]
equal = "epochs"
threads = 2
device = "cpu"
[train]
batch = 8
[meta]
epochs = 2
[e2e]
epochs = 2
batch = 8
""")
        with open(self.study, "w", encoding="utf-8") as f:
            f.write('title = "Two methods"\npreset = "tiny.toml"\n' +
                    "".join(f'[[series]]\nname = "{m}"\nmethod = "{m}"\n' for m in METHODS))
        self.twins, self.counts, self.lasts = {}, {}, {}

    def form(self, name):
        return {"study": Study, "stages": Stages}.get(name, Run)(self, name)

    def measure(self, name):
        """Lets a form run undisturbed: the weights, the files that it leaves, its calls and how long it takes."""
        form = self.form(name)
        place = Place(self, "twin-" + name)
        form.prepare(place)
        begin = time.monotonic()
        form.begin(place)
        self.lasts[name] = time.monotonic() - begin
        self.twins[name] = (form.weights(place), place.files())
        for other, (weights, _) in self.twins.items():
            if (other == "study") == (name == "study"):
                differ(self.twins[name][0], weights)  # however it is executed
        place = Place(self, "traced-" + name)
        form.prepare(place)
        calls = ",".join(CALLS.values())
        form.begin(place, under=["strace", "-ff", "-qq", "-o", place.trace, "-e", "trace=" + calls])
        differ(form.weights(place), self.twins[name][0])  # or the runs are not repeatable at all
        each = [collections.Counter(word(line.partition("(")[0]) for line in thread) for thread in place.traced()]
        self.counts[name] = {w: max(thread[w] for thread in each) for w in CALLS}


def word(call):
    return next((w for w, calls in CALLS.items() if call in calls.replace("?", "").split(",")), call)


class Run:
    """A run in the foreground, detached or queued."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.flags = {"run": [], "detached": ["--detach"], "queued": ["--queue"]}.get(name, [])

    def prepare(self, place):
        pass

    def begin(self, place, **how):
        """Starts or resumes, waits for the end, and returns the first code that is not 0, with what was said."""
        ids = place.ids()
        args = ["resume", *self.flags, ids[0]] if ids else ["run", *self.flags, self.world.preset]
        code, text = place.do(*args, **how)
        # Under strace the background process has ended by now: strace waits for it.
        if code == 0 and self.flags:
            code, more = place.do("wait", place.ids()[0])
            text += more
        return code, text

    def look(self, place):
        """Must work at any time, and say of no dead process that it runs."""
        for args in [["runs"], *(["status", *json_, i] for i in place.ids() for json_ in ([], ["--json"]))]:
            code, text = place.do(*args)
            if code != 0:
                raise Broken(f"`hatchery {' '.join(args)}` fails in between with {code}: {text}")
            if args == ["runs"] and re.search(r"\b(broken|running|queued)\b", text):
                raise Broken(f"`hatchery runs` says of a run without a process:\n{text}")

    def weights(self, place):
        """The digests of all tensors of all stages."""
        ids = place.ids()
        if len(ids) != 1:
            raise Broken(f"{len(ids)} runs instead of one: {ids}")
        return {stage: final(os.path.join(place.runs, ids[0], "stages", stage)) for stage in STAGES}


class Study(Run):
    """A study of two cells."""

    def begin(self, place, **how):
        ids = place.ids("studies")
        args = ["study", "resume", ids[0]] if ids else ["study", "run", self.world.study]
        return place.do(*args, **how)

    def look(self, place):
        super().look(place)
        for args in [["study", "list"], *(["study", "status", i] for i in place.ids("studies"))]:
            code, text = place.do(*args)
            if code != 0:
                raise Broken(f"`hatchery {' '.join(args)}` fails in between with {code}: {text}")

    def weights(self, place):
        studies = place.ids("studies")
        if len(studies) != 1:
            raise Broken(f"{len(studies)} studies instead of one: {studies}")
        with open(os.path.join(place.runs, "studies", studies[0], "study.json"), encoding="utf-8") as f:
            cells = json.load(f)["cells"]
        found = {}
        for cell in cells:
            stages = os.path.join(place.runs, cell["run"], "stages")
            for stage in os.listdir(stages):
                found[cell["name"] + " " + stage] = final(os.path.join(stages, stage))
        return found


class Stages(Run):
    """A run whose stages are executed one by one: it was taken out of the queue before its first one."""

    def prepare(self, place):
        os.mkdir(place.runs)
        with open(os.path.join(place.runs, ".machine-" + socket.gethostname()), "wb") as machine:
            fcntl.flock(machine, fcntl.LOCK_EX)  # so that its turn does not come
            place.do("run", "--queue", self.world.preset)
            place.do("queue", "remove", *place.ids())
        if len(place.ids()) != 1 or os.path.exists(os.path.join(place.runs, place.ids()[0], "stages")):
            raise Broken(f"no run to execute the stages of: {read(place.said)}")

    def begin(self, place, **how):
        return place.do("stage", place.ids()[0], *STAGES, **how)


def inject(call, what):
    """strace's options that do something to a call."""
    return ["-y", "-e", "trace=" + CALLS[call], "-e", f"inject={CALLS[call]}:{what}"]


def final(stage):
    """The tensors with which a stage ended: name, type, shape and bytes of each."""
    try:
        with open(os.path.join(stage, "done"), encoding="utf-8") as f:
            done = json.load(f)
        with open(os.path.join(stage, done["checkpoint"]), "rb") as f:
            length, = struct.unpack("<Q", f.read(8))
            header, data = json.loads(f.read(length)), f.read()
    except (OSError, ValueError, KeyError, struct.error) as err:
        raise Broken(f"{stage} has no final weights: {err}") from err
    header.pop("__metadata__", None)
    return {name: (t["dtype"], tuple(t["shape"]), data[t["data_offsets"][0]:t["data_offsets"][1]]) for name, t in header.items()}


def differ(got, want):
    """Compares the weights of two runs."""
    if got.keys() != want.keys():
        raise Broken(f"the stages are {sorted(got)}, want {sorted(want)}")
    for stage in want:
        if got[stage].keys() != want[stage].keys():
            raise Broken(f"{stage}: the tensors are {sorted(got[stage])}, want {sorted(want[stage])}")
        bad = [name for name in want[stage] if got[stage][name] != want[stage][name]]
        if bad:
            raise Broken(f"{stage}: {len(bad)} of {len(want[stage])} tensors differ: {', '.join(bad[:5])}")


def resume(form, place):
    """Goes on until the run is done."""
    for _ in range(TRIES):
        code, text = form.begin(place)
        if code == 0:
            return
    raise Broken(f"not done after {TRIES} times; the last one ended with {code}: {text}")


class Report:
    """Counts what became of the cases."""

    def __init__(self):
        self.counts, self.left = collections.Counter(), collections.Counter()

    def add(self, what):
        self.counts[what] += 1


def kill(world, name, number, rng, report):
    """One case of a kill. A point that the process does not come to is halved, until it does."""
    call = KILLS[number % len(KILLS)]
    form = world.form(FORMS[number % len(FORMS)])
    if call == "moment":
        after = rng.uniform(0, world.lasts[form.name])
        what = f"{form.name}, SIGKILL after {after * 1000:.0f} ms"
    else:
        when = rng.randint(1, max(1, world.counts[form.name][call]))
    while True:
        place = Place(world, name)
        form.prepare(place)
        if call == "moment":
            if form.flags:
                hit = later(form, place, after)
            else:
                code, _ = form.begin(place, kill_after=after)
                hit = code is None
        else:
            what = f"{form.name}, SIGKILL at {call} {when}"
            form.begin(place, under=["strace", "-ff", "-qq", "-o", place.trace, *inject(call, f"signal=KILL:when={when}")])
            hit = any("killed by SIGKILL" in line for thread in place.traced() for line in thread)
        if hit:
            break
        if call == "moment":
            after /= 2
            what = f"{form.name}, SIGKILL after {after * 1000:.0f} ms"
        elif when == 1:
            raise Broken(f"{what}: no process came to it")
        else:
            when //= 2
    form.look(place)
    report.add("killed")
    if rng.random() < 1 / 3:
        again = rng.choice(KILLS[1:])
        form.begin(place, under=["strace", "-ff", "-qq", "-o", place.trace, *inject(again, f"signal=KILL:when={rng.randint(1, 5)}")])
        what += f", resumed with one at {again}"
        form.look(place)
    resume(form, place)
    return what, form, place


def later(form, place, after):
    """Kills the background process of a run so many seconds after it was started."""
    begin = time.monotonic()
    ids = place.ids()
    args = ["resume", *form.flags, ids[0]] if ids else ["run", *form.flags, form.world.preset]
    code, text = place.do(*args)
    if code != 0:
        raise Broken(f"not started: {text}")
    time.sleep(max(0, begin + after - time.monotonic()))
    with open(os.path.join(place.runs, place.ids()[0], "status.json"), encoding="utf-8") as f:
        status = json.load(f)
    if status["phase"] not in ("running", "queued", "paused"):
        return False
    try:
        os.kill(status["pid"], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def fail(world, name, number, rng, report):
    """One case of a failing call."""
    call, errors = FAILURES[number % len(FAILURES)]
    form = world.form(FORMS[number % len(FORMS)])
    error = rng.choice(errors)
    when = rng.randint(1, max(1, world.counts[form.name][call]))
    # What fails for good: not write, which is how the process says so, nor open and close, without
    # which it does not start.
    for_good = call not in ("write", "open", "close") and rng.random() < 0.3
    while True:
        what = f"{form.name}, {error} at {call} {when}{' and all after it' if for_good else ''}"
        place = Place(world, name)
        form.prepare(place)
        code, text = form.begin(place, under=["strace", "-ff", "-qq", "-o", place.trace,
                                              *inject(call, f"error={error}:when={when}{'+' if for_good else ''}")])
        hits = [line for thread in place.traced() for line in thread if "(INJECTED)" in line]
        if hits:
            break
        if when == 1:
            raise Broken(f"{what}: no process came to it")
        when //= 2
    if code != 0:
        text += place.tell()
        names = [n for hit in hits for n in paths(hit)]
        if "fatal error: runtime" in text:
            report.add("failing call, stopped by Go's runtime, whose own call it was")
        elif not names:
            report.add("failing call, stopped at what has no name")
        elif any(n in text for n in names):
            report.add("failing call, stopped and named the file")
        else:
            raise Broken(f"{what}: ended with {code} and does not name {names[0]}, but says: {text}\n{hits[0]}")
    else:
        report.add("failing call, done all the same")
    form.look(place)
    resume(form, place)
    return what, form, place


def paths(line):
    """Names under which a message can speak of the file of a failed call: itself, or what a temporary file was to become."""
    if re.match(r"\w+\([12]<", line):
        return ["/dev/stdout", "/dev/stderr"]
    found = []
    for path in re.findall(r'"(/[^"]*)"', line) + re.findall(r"<(/[^>]*)>", line):
        name = os.path.basename(path)
        found += [n for n in (name, re.sub(r"(\.a\d+)?\.tmp$|\d+$", "", name).lstrip(".")) if len(n) > 1]
    return found


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()


def pictures(folder):
    """Writes 16x16 pictures of two classes, one darker than the other."""
    for split, count in (("train", 8), ("val", 4)):
        for label, light in (("dark", 60), ("light", 180)):
            os.makedirs(os.path.join(folder, split, label))
            for i in range(count):
                rows = b"".join(b"\0" + bytes((light + (i * 7 + x * y) % 60) for x in range(16) for _ in range(3)) for y in range(16))
                with open(os.path.join(folder, split, label, f"{i}.png"), "wb") as f:
                    f.write(b"\x89PNG\r\n\x1a\n")
                    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
                        f.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    for path, _, _ in os.walk(folder):
        os.utime(path, (1e9, 1e9))  # listings of folders that have just changed are not kept


def cannot():
    """Why the cases cannot be executed here, None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    p = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=close:signal=KILL:when=9999", "true"],
                       stderr=subprocess.PIPE, text=True, check=False)
    return None if p.returncode == 0 else f"strace cannot trace here: {p.stderr.strip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=40, metavar="N", help="number of kills (%(default)s)")
    parser.add_argument("--failures", type=int, default=40, metavar="N", help="number of failing system calls (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="from which the points are drawn (%(default)s)")
    parser.add_argument("--only", metavar="CASE", help="kill-N or failure-N: this case alone")
    parser.add_argument("--hatchery", metavar="FILE", help="the program; built from here if it is not given")
    o = parser.parse_args()
    reason = cannot()
    if reason is not None:
        if os.environ.get("CI") == "true":
            sys.exit(f"kills: {reason}")
        print(f"kills: skipped: {reason}")
        return
    begin = time.monotonic()
    directory = os.path.realpath(tempfile.mkdtemp(prefix="hatchery-kills-"))
    hatchery = o.hatchery and os.path.abspath(o.hatchery)
    if hatchery is None:
        hatchery = os.path.join(directory, "hatchery")
        subprocess.run(["go", "build", "-o", hatchery, "."], cwd=ROOT, check=True)
    world, report = World(directory, hatchery), Report()
    cases = [(f"kill-{i}", kill, i) for i in range(o.kills)] + [(f"failure-{i}", fail, i) for i in range(o.failures)]
    if o.only is not None:
        kind, _, number = o.only.partition("-")
        cases = [(o.only, {"kill": kill, "failure": fail}[kind], int(number))]
    print(f"{len(cases)} cases from seed {o.seed} in {directory}", flush=True)
    for form in {FORMS[i % len(FORMS)]: None for _, _, i in cases}:
        world.measure(form)
    for name, do, i in cases:
        repeat = f"repeat it with --seed {o.seed} --only {name}; its folder is {os.path.join(directory, name)}"
        try:
            what, form, place = do(world, name, i, random.Random(f"{o.seed} {name}"), report)
            weights, files = world.twins[form.name]
            differ(form.weights(place), weights)
            if place.files() - files:
                report.add("equal, with something to collect")
                place.later()
        except Broken as err:
            Place(world, name, keep=True).end()
            report.add("BROKEN")
            print(f"{name:11} BROKEN: {err}\n    {repeat}", flush=True)
            continue
        report.add("equal")
        left = sorted(place.files() - files)
        if left:
            report.add("equal, but FILES ARE LEFT")
            report.left.update(kind_of(f) for f in left)
            print(f"{name:11} {what}: equal, but FILES ARE LEFT: {' '.join(left)}\n    {repeat}", flush=True)
            continue
        print(f"{name:11} {what}: equal", flush=True)
        shutil.rmtree(place.dir)
    print(f"\nin {time.monotonic() - begin:.0f} s, of {len(cases)}:")
    for what, n in sorted(report.counts.items()):
        print(f"{n:5} {what}")
    for what, n in sorted(report.left.items()):
        print(f"{n:5} left: {what}")
    if report.counts["equal"] < len(cases) or report.left:
        sys.exit(1)
    shutil.rmtree(directory)


def kind_of(path):
    """A file's name without what is drawn at random."""
    return re.sub(r"[0-9a-f]{16}|\d{3,}", "N", path)


if __name__ == "__main__":
    main()
