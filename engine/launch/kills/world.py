"""The environment that all cases share, and the results of undisturbed runs of each form."""

import collections
import json
import os
import struct
import time
import zlib

from forms import Run, Stages, Study
from case_folder import CaseFolder
from weights import differ

FORMS = ["run", "detached", "study", "queued", "stages"]

METHODS = ["assembling", "e2e"]

# The system calls of each kind, in the syntax of strace. "?" marks calls that some architectures lack.
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


class World:
    """The environment that all cases share: the program, the pictures, the presets, and the weights to compare with."""

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
        """Runs a form undisturbed and records its weights, the files that it leaves, its calls and its duration."""
        form = self.form(name)
        folder = CaseFolder(self, "twin-" + name)
        form.prepare(folder)
        begin = time.monotonic()
        form.begin(folder)
        self.lasts[name] = time.monotonic() - begin
        self.twins[name] = (form.weights(folder), folder.files())
        for other, (weights, _) in self.twins.items():
            if (other == "study") == (name == "study"):
                differ(self.twins[name][0], weights)  # the weights must not depend on the form
        folder = CaseFolder(self, "traced-" + name)
        form.prepare(folder)
        calls = ",".join(CALLS.values())
        form.begin(folder, under=["strace", "-ff", "-qq", "-o", folder.trace, "-e", "trace=" + calls])
        differ(form.weights(folder), self.twins[name][0])  # otherwise runs are not repeatable at all
        each = [collections.Counter(word(line.partition("(")[0]) for line in thread) for thread in folder.traced()]
        self.counts[name] = {w: max(thread[w] for thread in each) for w in CALLS}


def word(call):
    return next((w for w, calls in CALLS.items() if call in calls.replace("?", "").split(",")), call)


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
        os.utime(path, (1e9, 1e9))  # hatchery does not cache the listing of a folder that has just changed
