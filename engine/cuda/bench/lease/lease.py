"""A lease: parts of a list, one after another, in the time that there is."""

import os
import shlex
import shutil
import signal
import subprocess
import time
import traceback

import limits
import networks
import parts
import results
import table

RESERVE = 5.0  # seconds at the end for the table
SIGNALS = (signal.SIGINT, signal.SIGTERM)
now = time.monotonic


class Interrupted(BaseException):
    """The lease was asked to end: Ctrl-C or SIGTERM."""


class Lease:
    """What the parts share: programs, time, and where results go."""

    def __init__(self, place, manifest, out, work, seconds, began=None, emulation=False, before=()):
        self.place, self.out, self.work = place, out, work
        self.images = manifest.get("images")
        if self.images:
            self.images = {**self.images, "folder": os.path.join(place, "images")}
        self.seconds, self.emulation, self.before = seconds, emulation, list(before)
        self.round_seconds = 0 if emulation else 2
        self.peer = None  # the command of PyTorch's program, once it is known
        self.clock, self.outcomes, self.background = now, {}, []
        self.began = now() if began is None else began
        os.makedirs(out, exist_ok=True)
        self.log = open(os.path.join(out, "log.txt"), "ab", buffering=0)
        self.summary = open(os.path.join(out, "summary.txt"), "a", encoding="utf-8")
        self.results = results.Results(os.path.join(out, "results.jsonl"))
        self.environment = {
            "HOME": os.path.expanduser("~"),  # where whoever starts a lease sets none
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "CUDA_CACHE_PATH": os.path.join(work, "jit"),
            "CUDA_CACHE_MAXSIZE": str(1 << 30),
            "TORCHINDUCTOR_CACHE_DIR": os.path.join(work, "inductor"),
            "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
            "TORCHINDUCTOR_AUTOGRAD_CACHE": "1",
        }
        if emulation:
            self.environment.pop("HATCHERY_TEST_GPU", None)
        else:
            self.environment["HATCHERY_TEST_GPU"] = "1"

    # What parts ask for.

    def file(self, path):
        return os.path.join(self.place, path)

    def program(self, name):
        return os.path.join(self.place, "bin", name)

    def network(self, network):
        return networks.rehearsed(network) if self.emulation else network

    def which(self, name):
        return shutil.which(name, path=self.environment.get("PATH"))

    def left(self):
        return self.seconds - (self.clock() - self.began) - RESERVE

    def say(self, text):
        line = f"{self.clock() - self.began:4.0f} s  {text}"
        print(line, flush=True)
        self.summary.write(line + "\n")
        self.summary.flush()

    def mark(self):
        """Where the log ends, for logged."""
        return os.fstat(self.log.fileno()).st_size

    def logged(self, mark):
        """What the log holds after a mark."""
        with open(self.log.name, "rb") as f:
            f.seek(mark)
            return f.read().decode(errors="replace")

    # How parts run.

    def run(self, phases, only=()):
        """Runs the parts, or only those that are named and what they rest on; True
        if none failed. The table is printed last, whatever happens."""
        before = {s: signal.signal(s, interrupt) for s in SIGNALS}
        self.results.note("lease", "start", {"seconds": self.seconds, "emulation": self.emulation, "images": bool(self.images)})
        if self.emulation:
            self.say("EMULATION: a rehearsal, no time in it means anything")
        try:
            for phase in phases:
                until = phase.until * (self.seconds - RESERVE)
                if phase.beside and not only:
                    self.start_beside(phase.beside(self))
                for part in phase.parts:
                    if phase.always or not only or part.name in only:
                        self.part(part, until)
                self.wait_for_beside(until)
        except Interrupted as e:
            self.say(f"interrupted by {e}: what follows is left out")
            self.outcomes["interrupted"] = "failed"
        finally:
            for s in SIGNALS:
                signal.signal(s, signal.SIG_IGN)  # the table is coming
            self.end_beside()
            self.finish()
            for s, handler in before.items():
                signal.signal(s, handler)
        return "failed" not in self.outcomes.values()

    def part(self, part, until):
        """Runs a part, which must be over when `until` seconds of the lease are."""
        seconds = min(part.most, self.left() - 2 * limits.GRACE, until - (self.clock() - self.began))
        if seconds < part.least:
            self.outcome(part, "left out", f"it wants {part.least:.0f} s, {max(0, seconds):.0f} s are left for it", 0)
            return
        self.log.write(f"\n== {part.name}, {seconds:.0f} s at most\n".encode())
        began = self.clock()
        try:
            outcome, said = "ok", part.do(self, seconds)
        except parts.Absent as e:
            outcome, said = "absent", str(e)
        except (parts.Failed, limits.TimedOut) as e:
            outcome, said = "failed", str(e)
        except Exception as e:  # a fault of the lease's own costs one part, not all
            self.log.write(traceback.format_exc().encode())
            outcome, said = "failed", f"{type(e).__name__}: {e}"
        self.outcome(part, outcome, said, self.clock() - began)

    def outcome(self, part, outcome, said, took):
        self.outcomes[part.name] = outcome
        self.say(f"{part.name}: {outcome if outcome != 'failed' else 'FAILED'}, {took:.0f} s" + (f": {results.short(said, 300)}" if said else ""))
        self.results.note(part.name, "outcome", outcome, seconds=round(took, 1), said=said)
        self.write_table()

    # What runs beside parts: on other cores, while nothing is timed.

    def start_beside(self, lists):
        for commands in lists:
            line = "bad=0; " + "".join(f"{shlex.join(c)} || bad=1; " for c in commands) + "exit $bad"
            with open(os.path.join(self.out, "compile.txt"), "ab") as output:
                options = {"cwd": self.place, "env": self.environment, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
                self.background.append(limits.start(["sh", "-c", line], **options))
        if self.background:
            self.say("PyTorch compiles its graphs beside what follows: compile.txt")

    def wait_for_beside(self, until):
        if not self.background:
            return
        while self.clock() - self.began < until and any(p.poll() is None for p in self.background):
            time.sleep(0.2)
        over = all(p.poll() == 0 for p in self.background)
        self.end_beside()
        self.say("PyTorch has compiled its graphs" if over else "PyTorch did NOT compile all graphs beforehand: compile.txt")

    def end_beside(self):
        while self.background:
            limits.end(self.background.pop())

    # The end.

    def write_table(self):
        path = os.path.join(self.out, "table.txt")
        with open(path + ".new", "w", encoding="utf-8") as f:
            f.write(table.text(results.read(self.results.path)))
        os.replace(path + ".new", path)

    def finish(self):
        self.write_table()
        # For `run --more` on this machine.
        shutil.copyfile(self.results.path, os.path.join(self.work, "before.jsonl"))
        counts = {o: sum(x == o for x in self.outcomes.values()) for o in ("ok", "failed", "left out", "absent")}
        self.say(", ".join(f"{n} {o}" for o, n in counts.items() if n))
        with open(os.path.join(self.out, "table.txt"), encoding="utf-8") as f:
            print(f.read(), flush=True)


def interrupt(number, _):
    for s in SIGNALS:  # a second one must not keep children from being ended
        signal.signal(s, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)
