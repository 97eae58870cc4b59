"""A lease runs the parts of a list, one after another, within a time limit."""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback

import limits
import networks
import output
import parts
import results
import table

RESERVE = 5.0  # seconds at the end for the table
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
now = time.monotonic


class Interrupted(BaseException):
    """The lease was interrupted: Ctrl-C, SIGTERM, or a closed terminal."""


class Lease:
    """The state that the parts share: programs, time and results."""

    def __init__(self, place, manifest, out, work, seconds, began=None, emulation=False, before=()):
        self.place, self.out, self.work = place, out, work
        self.images = manifest.get("images")
        if self.images:
            self.images = {**self.images, "folder": os.path.join(place, "images")}
        self.seconds, self.emulation, self.before = seconds, emulation, list(before)
        self.round_seconds = 0 if emulation else 2
        self.peer = None  # the command of PyTorch's program, if known
        self.clock, self.outcomes, self.background = now, {}, []
        self.no_card, self.unsaved, self.silent = "", set(), False
        self.began = now() if began is None else began
        os.makedirs(out, exist_ok=True)
        self.results = results.Results(os.path.join(out, "results.jsonl"), self.complain)
        self.log = self.growing("log.txt")
        self.summary = self.growing("summary.txt")
        self.environment = {
            "HOME": os.path.expanduser("~"),  # in case the environment has none
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

    # Methods for parts.

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

    def growing(self, name):
        return results.Growing(os.path.join(self.out, name), self.complain)

    def say(self, text):
        line = f"{self.clock() - self.began:4.0f} s  {text}"
        self.summary.write(line.encode(errors="replace") + b"\n")
        self.show(line)

    def show(self, text):
        """Prints, as long as standard output works; the lease does not depend on it."""
        if self.silent:
            return
        try:
            print(text, flush=True)
        except OSError as e:
            self.silent = True
            with open(os.devnull, "wb") as nowhere:  # Python flushes the rest there on exit
                os.dup2(nowhere.fileno(), sys.__stdout__.fileno())
            self.say(f"standard output: {e.strerror}: the lease goes on without it")

    def complain(self, path, error):
        self.say(f"{path}: {error.strerror or error}: the lease goes on; all that was measured is in the table that it prints")

    def save(self, path, data):
        try:
            results.save(path, data)
        except OSError as e:
            if path not in self.unsaved:
                self.unsaved.add(path)
                self.complain(path, e)

    # Running parts.

    def run(self, phases, only=()):
        """Runs the parts, or only those that are named and those that always run. Returns
        True if none failed and something was checked or measured. Prints the table at the
        end in any case."""
        with interruptible():
            try:
                self.results.note("lease", "start", {"seconds": self.seconds, "emulation": self.emulation, "images": bool(self.images)})
                if self.emulation:
                    self.say("EMULATION: a rehearsal, no time in it means anything")
                self.run_phases(phases, only)
            except Interrupted as e:
                self.say(f"interrupted by {e}: what follows is left out")
                self.outcomes["interrupted"] = "failed"
            except Exception as e:
                self.log.write(traceback.format_exc().encode())
                self.say(f"the lease has a fault of its own and ends early: {type(e).__name__}: {e}")
                self.outcomes["lease"] = "failed"
            finally:
                for s in SIGNALS:
                    signal.signal(s, signal.SIG_IGN)  # do not interrupt the table
                self.end_beside()
                limits.end_all()
                start = {p.name for phase in phases if phase.always for p in phase.parts}
                worked = any(o == "ok" for name, o in self.outcomes.items() if name not in start)
                self.finish(worked)
        return worked and "failed" not in self.outcomes.values()

    def run_phases(self, phases, only):
        for phase in phases:
            until = phase.until * (self.seconds - RESERVE)
            if phase.beside and not only:
                self.start_beside(phase.beside(self))
            for part in phase.parts:
                if phase.always or not only or part.name in only:
                    self.part(part, until)
                if self.no_card:
                    self.say(f"NO GPU THAT HATCHERY CAN USE, so nothing else is run: {self.no_card}")
                    return
            self.wait_for_beside(until)

    def part(self, part, until):
        """Runs a part, which must end before `until` seconds of the lease have passed."""
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
        except parts.NoCard as e:
            outcome, said = "failed", "no GPU"
            self.no_card = str(e)
        except (parts.Failed, limits.TimedOut) as e:
            outcome, said = "failed", str(e)
        except Exception as e:  # an error of the lease must not affect other parts
            self.log.write(traceback.format_exc().encode())
            outcome, said = "failed", f"{type(e).__name__}: {e}"
        self.outcome(part, outcome, said, self.clock() - began)

    def outcome(self, part, outcome, said, took):
        self.outcomes[part.name] = outcome
        self.say(f"{part.name}: {outcome if outcome != 'failed' else 'FAILED'}, {took:.0f} s" + (f": {results.short(said, 300)}" if said else ""))
        self.results.note(part.name, "outcome", outcome, seconds=round(took, 1), said=said)
        self.write_table()

    # Commands that run in the background on other cores, while nothing is timed.

    def start_beside(self, lists):
        if not lists:
            return
        file = self.growing("compile.txt")
        for commands in lists:
            line = "bad=0; " + "".join(f"{shlex.join(c)} || bad=1; " for c in commands) + "exit $bad"
            wrote = output.Output(file)
            process = limits.start(["sh", "-c", line], cwd=self.place, env=self.environment, stdin=subprocess.DEVNULL, stdout=wrote, stderr=wrote)
            self.background.append((process, wrote))
        self.say("PyTorch compiles its graphs beside what follows: compile.txt")

    def wait_for_beside(self, until):
        if not self.background:
            return
        while self.clock() - self.began < until and any(p.poll() is None for p, _ in self.background):
            time.sleep(0.2)
        over = all(p.poll() == 0 for p, _ in self.background)
        self.end_beside()
        self.say("PyTorch has compiled its graphs" if over else "PyTorch did NOT compile all graphs beforehand: compile.txt")

    def end_beside(self):
        while self.background:
            process, wrote = self.background.pop()
            if stuck := limits.end(process):
                self.say(stuck)
            wrote.close()
            if not self.background:
                wrote.file.close()

    # The end.

    def write_table(self):
        said = table.text(self.results.found)
        self.save(os.path.join(self.out, "table.txt"), said.encode(errors="replace"))
        return said

    def finish(self, worked):
        said = self.write_table()
        self.save(kept(self.work, self.emulation), results.lines(self.results.found))
        counts = {o: sum(x == o for x in self.outcomes.values()) for o in ("ok", "failed", "left out", "absent")}
        self.say(", ".join(f"{n} {o}" for o, n in counts.items() if n) + ("" if worked else "; NOTHING WAS CHECKED OR MEASURED"))
        self.show(said)


def kept(work, emulation):
    """Returns the file in which `run --more` finds earlier results on this machine. A
    rehearsal has its own file, because its results are not those of a card."""
    return os.path.join(work, "before-emulation.jsonl" if emulation else "before.jsonl")


@contextlib.contextmanager
def interruptible():
    """Raises Interrupted on one of SIGNALS, except on SIGHUP if nohup made this process ignore it."""
    before = {s: signal.getsignal(s) for s in SIGNALS}
    for s, handler in before.items():
        if s != signal.SIGHUP or handler != signal.SIG_IGN:
            signal.signal(s, interrupt)
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def interrupt(number, _):
    for s in SIGNALS:  # a second signal must not prevent the end of child processes
        signal.signal(s, signal.SIG_IGN)
    raise Interrupted(signal.Signals(number).name)
