"""The forms in which a run can be executed."""

import fcntl
import json
import os
import re
import socket

from case_folder import read
from weights import Broken, final

STAGES = ["meta", "module-1", "module-2", "assemble", "finetune", "e2e"]


class Run:
    """A run in the foreground, in the background or in the queue."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.flags = {"run": [], "detached": ["--detach"], "queued": ["--queue"]}.get(name, [])

    def prepare(self, folder):
        pass

    def begin(self, folder, **how):
        """Starts or resumes a run and waits for its end. Returns the first exit code that is not 0, and the output."""
        ids = folder.ids()
        args = ["resume", *self.flags, ids[0]] if ids else ["run", *self.flags, self.world.preset]
        code, text = folder.do(*args, **how)
        # Under strace the background process has ended by now: strace waits for it.
        if code == 0 and self.flags:
            code, more = folder.do("wait", folder.ids()[0])
            text += more
        return code, text

    def check(self, folder):
        """Checks that `runs` and `status` work, and do not show a run with a dead process as running."""
        for args in [["runs"], *(["status", *json_, i] for i in folder.ids() for json_ in ([], ["--json"]))]:
            code, text = folder.do(*args)
            if code != 0:
                raise Broken(f"`hatchery {' '.join(args)}` fails in between with {code}: {text}")
            if args == ["runs"] and re.search(r"\b(broken|running|queued)\b", text):
                raise Broken(f"`hatchery runs` says of a run without a process:\n{text}")

    def weights(self, folder):
        """Returns the final tensors of all stages."""
        ids = folder.ids()
        if len(ids) != 1:
            raise Broken(f"{len(ids)} runs instead of one: {ids}")
        return {stage: final(os.path.join(folder.runs, ids[0], "stages", stage)) for stage in STAGES}


class Study(Run):
    """A study of two cells."""

    def begin(self, folder, **how):
        ids = folder.ids("studies")
        args = ["study", "resume", ids[0]] if ids else ["study", "run", self.world.study]
        return folder.do(*args, **how)

    def check(self, folder):
        super().check(folder)
        for args in [["study", "list"], *(["study", "status", i] for i in folder.ids("studies"))]:
            code, text = folder.do(*args)
            if code != 0:
                raise Broken(f"`hatchery {' '.join(args)}` fails in between with {code}: {text}")

    def weights(self, folder):
        studies = folder.ids("studies")
        if len(studies) != 1:
            raise Broken(f"{len(studies)} studies instead of one: {studies}")
        with open(os.path.join(folder.runs, "studies", studies[0], "study.json"), encoding="utf-8") as f:
            cells = json.load(f)["cells"]
        found = {}
        for cell in cells:
            stages = os.path.join(folder.runs, cell["run"], "stages")
            for stage in os.listdir(stages):
                found[cell["name"] + " " + stage] = final(os.path.join(stages, stage))
        return found


class Stages(Run):
    """A run whose stages are executed one by one. It is removed from the queue before it starts."""

    def prepare(self, folder):
        os.mkdir(folder.runs)
        with open(os.path.join(folder.runs, ".machine-" + socket.gethostname()), "wb") as machine:
            fcntl.flock(machine, fcntl.LOCK_EX)  # keeps the run waiting in the queue
            folder.do("run", "--queue", self.world.preset)
            folder.do("queue", "remove", *folder.ids())
        if len(folder.ids()) != 1 or os.path.exists(os.path.join(folder.runs, folder.ids()[0], "stages")):
            raise Broken(f"no run to execute the stages of: {read(folder.log)}")

    def begin(self, folder, **how):
        return folder.do("stage", folder.ids()[0], *STAGES, **how)
