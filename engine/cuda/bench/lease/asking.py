"""Sends commands to a program of the benchmark, which answers each line with a line of JSON."""

import json
import os
import select
import subprocess
import time

import answers
import limits
import output
import results

LONGEST = 16 << 20  # bytes of an answer


class Failed(Exception):
    """A program did not answer as it should."""


class Program:
    """A program that is running: main.go's, or pytorch.py.

    Its errors are written to log, a results.Growing. It is ended at the deadline, a
    value of time.monotonic, whether it has answered or not.
    """

    def __init__(self, command, deadline, log, grace=None, **options):
        self.deadline, self.grace, self.waiting = deadline, grace, b""
        self.errors = output.Output(log)
        try:
            self.process = limits.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, **options)
        except OSError as e:
            self.errors.close()
            raise Failed(f"{command[0]}: {e.strerror}") from e
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        stuck = self.end()
        self.process.stdout.close()
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        if stuck and kind is None:
            raise Failed(stuck)

    def end(self):
        stuck = limits.end(self.process, self.grace)
        self.errors.close()
        return stuck

    def ask(self, line):
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; read reports how
        return self.read()

    def read(self):
        """Returns the next answer."""
        while b"\n" not in self.waiting:
            # Its child processes may keep the output open after it has ended.
            ended = self.process.poll() is not None
            left = self.deadline - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], min(left, 0.2))[0]
            if left <= 0:
                half = f", after half an answer: {self.short(self.waiting)}" if self.waiting else ""
                raise Failed("no answer in time" + half)
            some = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not some and (ready or ended):
                raise Failed(self.how_it_ended())
            self.waiting += some
            if len(self.waiting) > LONGEST:
                raise Failed(f"an answer has more than {LONGEST >> 20} MiB: {self.short(self.waiting)}")
        line, _, self.waiting = self.waiting.partition(b"\n")
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise Failed(f"answered what is not JSON: {self.short(line)}") from None

    def how_it_ended(self):
        try:
            seconds = min(limits.GRACE, max(0, self.deadline - time.monotonic()))
            status = f"ended with status {self.process.wait(seconds)}"
        except subprocess.TimeoutExpired:
            status = "closed its output"
        stuck = self.end()
        said = self.errors.text().strip()
        if self.waiting:
            status += f" in the middle of an answer: {self.short(self.waiting)}"
        return status + (f"; {stuck}" if stuck else "") + (f": {results.short(said, 400)}" if said else "")

    @staticmethod
    def short(line):
        text = line[:400].decode(errors="replace")
        return repr(text if len(text) <= 100 else text[:100] + "...")


def measure(program, lines, seconds, note):
    """Sends each line and calls note(what, answer) immediately.

    The line "steps" stands for three rounds of steps, each of about the given seconds;
    the milliseconds of a step are noted for each round.
    """
    note("ready", checked("ready", "ready", program.read()))
    for line in lines:
        if line != "steps":
            kind = line.split()[0]
            note(kind, checked(kind, line, program.ask(line)))
            continue
        program.ask("steps 2")
        count = max(3, round(seconds * 3 / number(program.ask("steps 3"))))
        for _ in range(3):
            note("step_ms", round(1e3 * number(program.ask(f"steps {count}")) / count, 3))


def checked(kind, line, answer):
    """Returns the answer to a line, if it has the form that the table needs."""
    try:
        answers.check(kind, answer)
    except answers.Unexpected as e:
        raise Failed(f"unexpected answer to {line!r}: {e}: {results.short(str(answer), 100)}") from None
    return answer


def fits(kind, answer):
    """Whether an answer of an earlier run has the shape that it should."""
    try:
        answers.check(kind, answer)
    except answers.Unexpected:
        return False
    return True


def number(answer):
    """The seconds of an answer to a line of steps."""
    try:
        seconds = answers.number(answer, "seconds")
    except answers.Unexpected as e:
        raise Failed(f"answered {str(answer)[:100]!r}, which has no seconds: {e}") from None
    if seconds <= 0:
        raise Failed(f"answered that steps took {seconds} seconds")
    return seconds
