"""What was measured, a line of JSON each, on disk before the next question."""

import json
import os
import time


class Results:
    """A file of results that grows."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "ab+")
        self.file.seek(0, os.SEEK_END)
        if self.file.tell():
            self.file.seek(-1, os.SEEK_END)
            if self.file.read() != b"\n":  # torn, as by a power cut
                self.file.write(b"\n")

    def note(self, part, what, value, **more):
        result = {"part": part, "what": what, "value": value, "at": round(time.time(), 1), **more}
        self.file.write(json.dumps(result).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def read(path):
    """The results of a file, without lines that were torn, as by a power cut."""
    with open(path, "rb") as f:
        lines = f.read().splitlines()
    found = []
    for line in lines:
        try:
            result = json.loads(line)
        except ValueError:
            continue
        if isinstance(result, dict) and {"part", "what", "value"} <= result.keys() and isinstance(result["part"], str):
            found.append(result)
    if lines and not found:
        raise ValueError(f"{path}: no line of it is a result: a results.jsonl that `run` wrote is wanted")
    return found


def short(text, most):
    """Text on one line, the middle left out where it is longer: errors begin with
    what happened and end with why."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[:half]} ... {text[len(text) - half:]}"
