"""The folder in which one case runs hatchery."""

import json
import os
import re
import shutil
import signal
import subprocess

from weights import Broken

PATIENCE = 90  # seconds for one command


class CaseFolder:
    """The folder of one case, with its runs, a temporary folder and a cache."""

    def __init__(self, world, name, keep=False):
        self.world, self.dir = world, os.path.join(world.dir, name)
        self.runs, self.temp = os.path.join(self.dir, "runs"), os.path.join(self.dir, "tmp")
        self.trace, self.log = os.path.join(self.dir, "trace"), os.path.join(self.dir, "said")
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
            os.makedirs(self.temp)
        self.env = dict(os.environ, HATCHERY_RUNS=self.runs, TMPDIR=self.temp, XDG_CACHE_HOME=os.path.join(self.dir, "cache"))

    def do(self, *args, under=(), kill_after=None):
        """Executes hatchery and returns its exit code and output. If it was killed after kill_after seconds, the code is None."""
        with open(self.log, "ab") as log:
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
        with open(self.log, encoding="utf-8", errors="replace") as f:
            f.seek(at)
            text = f.read()
        if "\npanic: " in text or text.startswith("panic: "):
            raise Broken(f"`hatchery {' '.join(args)}` panicked:\n{text}")
        return code, text

    def ids(self, *folder):
        """Returns the ids of the runs, or of the studies."""
        try:
            names = sorted(os.listdir(os.path.join(self.runs, *folder)))
        except FileNotFoundError:
            return []
        return [n for n in names if n[0] != "." and n != "studies"]

    def traced(self):
        """Returns the lines that strace wrote, for each thread."""
        return [read(os.path.join(self.dir, n)).splitlines() for n in os.listdir(self.dir) if n.startswith("trace.")]

    def end(self):
        """Kills processes that still execute a run in this folder, for example after a command that did not end."""
        for folder, _, names in os.walk(self.runs):
            for name in names:
                try:
                    with open(os.path.join(folder, name), encoding="utf-8") as f:
                        pid = name.endswith(".json") and json.load(f)["pid"]
                    if pid and os.readlink(f"/proc/{pid}/exe") == self.world.hatchery:
                        os.kill(pid, signal.SIGKILL)
                except (OSError, ValueError, KeyError, TypeError):
                    pass  # not a status, or the process has ended

    def logs(self):
        """Returns the logs and statuses of all runs as one text."""
        texts = []
        for folder, _, names in os.walk(self.runs):
            for name in names:
                if name in ("log.txt", "status.json") or name.endswith((".log", ".json")) and os.path.basename(folder) == "attempts":
                    with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                        texts.append(f.read())
        return "\n".join(texts)

    def collect(self):
        """Makes all files an hour older and starts new processes in every folder, which remove leftovers."""
        for top in (self.runs, self.temp, self.env["XDG_CACHE_HOME"]):
            for folder, _, names in os.walk(top, topdown=False):
                for path in [*(os.path.join(folder, n) for n in names), folder]:
                    past = os.lstat(path).st_mtime - 3600
                    os.utime(path, (past, past), follow_symlinks=False)
                    if path.endswith(".index"):
                        os.remove(path)  # so that it is written again
        before = self.ids()
        for args in [*(["resume", i] for i in before), ["run", self.world.preset, "-s", 'run.methods=["e2e"]']]:
            code, text = self.do(*args)
            if code != 0:
                raise Broken(f"`hatchery {' '.join(args)}` fails afterwards with {code}: {text}")
        for i in set(self.ids()) - set(before):
            shutil.rmtree(os.path.join(self.runs, i))

    def files(self):
        """Returns the paths of all files, with ids of runs and numbers replaced, so that cases can be compared."""
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
    """Returns the id of a run without its time and random letters."""
    return re.sub(r"-\d{8}-\d{6}-\w{4}$", "", run)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as f:
        return f.read()
