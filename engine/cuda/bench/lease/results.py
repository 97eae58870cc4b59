"""Results, one line of JSON each, which are on disk before the next command."""

import contextlib
import json
import os
import threading
import time


class Growing:
    """A file for appending, whose errors do not stop the lease.

    Data that cannot be written stays in memory and is tried again with the next write.
    complain(path, error) is called once, at the first error.
    """

    def __init__(self, path, complain, mode="ab", sync=False):
        self.path, self.complain, self.sync = path, complain, sync
        self.file = open(path, mode, buffering=0)
        self.size = os.fstat(self.file.fileno()).st_size
        self.waiting, self.lock, self.complained = b"", threading.Lock(), False

    def write(self, data):
        with self.lock:
            self.waiting += data
            self.size += len(data)
            try:
                while self.waiting:
                    self.waiting = self.waiting[self.file.write(self.waiting) :]
                if self.sync:
                    os.fsync(self.file.fileno())
                return
            except OSError as e:
                error = e
            complained, self.complained = self.complained, True
        if not complained:
            self.complain(self.path, error)

    def close(self):
        self.file.close()


class Results:
    """The results of one lease, in memory and in a file of its own."""

    def __init__(self, path, complain):
        self.found = []
        try:
            self.file = Growing(path, complain, "xb", sync=True)
        except FileExistsError:
            raise ValueError(taken(path)) from None

    def note(self, part, what, value, **more):
        line = json.dumps({"part": part, "what": what, "value": value, "at": round(time.time(), 1), **more})
        self.found.append(json.loads(line))  # the same as in the file
        self.file.write(line.encode() + b"\n")


def taken(path):
    return f"{path} holds the results of another run: name another folder with --out"


def lines(found):
    return b"".join(json.dumps(r).encode() + b"\n" for r in found)


def save(path, data):
    """Writes a file atomically."""
    new = path + ".new"
    try:
        with open(new, "wb") as f:
            f.write(data)
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.remove(new)
        raise


def read(path):
    """Returns the results in a file, without incomplete lines, as after a power cut."""
    with open(path, "rb") as f:
        all_lines = f.read().splitlines()
    found = []
    for line in all_lines:
        try:
            result = json.loads(line)
        except ValueError:
            continue
        if isinstance(result, dict) and {"part", "what", "value"} <= result.keys() and isinstance(result["part"], str):
            found.append(result)
    if all_lines and not found:
        raise ValueError(f"{path}: no line of it is a result: a results.jsonl that `run` wrote is wanted")
    return found


def short(text, most):
    """Returns text on one line, without its middle if it is too long: errors begin with
    what happened and end with the reason."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[:half]} ... {text[len(text) - half:]}"
