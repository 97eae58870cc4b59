"""The folder in which one case runs hatchery."""

import json
import os
import re
import shutil
import signal
import subprocess

from weights import Broken

PATIENCE = 90  # seconds for one command


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


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()
