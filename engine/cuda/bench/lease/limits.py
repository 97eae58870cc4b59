"""Runs commands with a time limit and ends all processes that they started."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass

import output

GRACE = 3.0  # seconds to wait after SIGTERM, and after SIGKILL
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl

_running = {}  # processes of start that have not been ended, by id
_strangers = None  # ids of other children: from before the first start, or abandoned
_stuck = []  # processes that could not be ended


class TimedOut(Exception):
    """A command was ended because its time was up. said is its output until then."""

    def __init__(self, text, said=""):
        super().__init__(text)
        self.said = said


@dataclass(frozen=True)
class Ended:
    """The exit status and the output of a command."""

    status: int
    said: str

    def why(self):
        """Returns the status with the last line of output, which usually gives the reason."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return f"status {self.status}" + (f": {lines[-1][:200]}" if lines else "")


def start(command, **options):
    """Starts a command as the leader of a process group of its own."""
    adopt()
    process = subprocess.Popen(command, start_new_session=True, **options)
    _running[process.pid] = process
    return process


def adopt():
    """Makes this process the parent of descendants whose parent has ended, so that end
    finds them. This works only on Linux; elsewhere end misses those that left their group."""
    global _strangers
    if _strangers is None:
        _strangers = {pid for pid, parent in parents().items() if parent == os.getpid()}
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def parents():
    """Returns the parent of every process, by id; empty without /proc."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                    found[int(name)] = int(f.read().rpartition(")")[2].split()[1])
    return found


def descendants(pid):
    """Returns the ids of all descendants of a process."""
    family, all_parents = {pid}, parents()
    while more := {child for child, parent in all_parents.items() if parent in family} - family:
        family |= more
    return family - {pid}


def orphans():
    """Returns the ids of processes that this process adopted, and of their descendants."""
    adopted = {pid for pid, parent in parents().items() if parent == os.getpid()} - _running.keys() - (_strangers or set())
    for pid in list(adopted):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:  # it has ended
                adopted.discard(pid)
    return adopted.union(*map(descendants, adopted))


def end(process, grace=None):
    """Ends a process of start, what is left of its group, and descendants that left
    the group: SIGTERM, then SIGKILL. Returns "", or that it could not be ended.

    A descendant may ignore SIGTERM and outlive the leader, so end waits for all of
    them, also after SIGKILL, because a card's memory is free only then. A process that
    is stuck in the kernel, for example in a driver, outlives even that. It is abandoned,
    so that it costs no more time.
    """
    if process.pid not in _running:
        return ""
    family = descendants(process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + (GRACE if grace is None else grace)
        family |= descendants(process.pid)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                if os.getpgid(pid) != process.pid:
                    _kill(pid, number)
        _signal(process, number)
        while (left := _left(process, number)) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not left:
            break
    if left:
        _strangers.update(orphans(), {process.pid})  # they are not waited for again
        _stuck.append(process)
    _running.pop(process.pid, None)
    return f"process {process.pid} or one that it started could not be ended" if left else ""


def end_all():
    """Ends all processes that are left, for example after a signal during end."""
    for process in list(_running.values()):
        end(process)


def _left(process, number):
    """Returns whether a process of start or one of its descendants is still running.
    Signals orphans, which appear when their parents end."""
    if process.poll() is not None:  # one that nobody waits for stays in its group
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                pass
    if _signal(process, 0):
        return True
    left = orphans()
    for pid in left:
        _kill(pid, number)
    return bool(left)


def _kill(pid, number):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _signal(process, number):
    """Signals the group. Returns False if it no longer exists."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def execute(command, seconds, file, stdin="", grace=None, stdout=None, **options):
    """Runs a command for at most the given seconds.

    Its output is written to file, a results.Growing; if stdout, another one, is given,
    file gets only the errors. In any case, also after an exception, all of its processes
    are ended if possible.
    """
    outputs = [output.Output(f) for f in (file, stdout) if f]
    late, stuck = False, ""
    try:
        process = start(command, stdin=subprocess.PIPE, stdout=outputs[-1], stderr=outputs[0], **options)
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended without reading its input
                process.stdin.write(stdin.encode())
                process.stdin.close()
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                late = True
        finally:
            stuck = end(process, grace)
    finally:
        for o in outputs:
            o.close()
    said = outputs[0].text()
    if late or stuck:
        raise TimedOut("; ".join(x for x in (f"ended after {seconds:.0f} s" if late else "", stuck) if x), said)
    return Ended(process.returncode, said)
