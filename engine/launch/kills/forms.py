"""The ways in which a run can be executed."""

import fcntl
import json
import os
import re
import socket

from place import read
from weights import Broken, final

STAGES = ["meta", "module-1", "module-2", "assemble", "finetune", "e2e"]


class Run:
    """A run in the foreground, detached or queued."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.flags = {"run": [], "detached": ["--detach"], "queued": ["--queue"]}.get(name, [])

    def prepare(self, place):
        pass

    def begin(self, place, **how):
        """Starts or resumes a run, waits for its end, and returns the first exit code that is not 0, and the output."""
        ids = place.ids()
        args = ["resume", *self.flags, ids[0]] if ids else ["run", *self.flags, self.world.preset]
        code, text = place.do(*args, **how)
        # Under strace the background process has ended by now: strace waits for it.
        if code == 0 and self.flags:
            code, more = place.do("wait", place.ids()[0])
            text += more
        return code, text

    def look(self, place):
        """Checks that runs and status work, and do not take a dead process for a running one."""
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
    """A run whose stages are executed one by one. It is taken out of the queue before it begins."""

    def prepare(self, place):
        os.mkdir(place.runs)
        with open(os.path.join(place.runs, ".machine-" + socket.gethostname()), "wb") as machine:
            fcntl.flock(machine, fcntl.LOCK_EX)  # keeps the run waiting in the queue
            place.do("run", "--queue", self.world.preset)
            place.do("queue", "remove", *place.ids())
        if len(place.ids()) != 1 or os.path.exists(os.path.join(place.runs, place.ids()[0], "stages")):
            raise Broken(f"no run to execute the stages of: {read(place.said)}")

    def begin(self, place, **how):
        return place.do("stage", place.ids()[0], *STAGES, **how)
