"""Commands that end in time, with every process that they started."""

import os
import signal
import subprocess
import time

GRACE = 3.0  # seconds to end after SIGTERM, and to be gone after SIGKILL


class TimedOut(Exception):
    """A command was ended because its time was up."""


def start(command, **options):
    """Starts a command as the leader of a process group of its own."""
    return subprocess.Popen(command, start_new_session=True, **options)


def end(process, grace=None):
    """Ends a process of start and what is left of its group: SIGTERM, then SIGKILL.

    A descendant may ignore SIGTERM and outlive the leader, so what is waited for
    is the group; also after SIGKILL, for a card's memory is free only then.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + (GRACE if grace is None else grace)
        left = _signal(process, number)
        while left and time.monotonic() < deadline:
            process.poll()  # a leader that nobody waits for stays in its group
            time.sleep(0.01)
            left = _signal(process, 0)
        if not left:
            break
    process.wait()


def _signal(process, number):
    """Signals the group; False where there is none any more."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


def execute(command, seconds, output, stdin="", grace=None, **options):
    """Runs a command for so many seconds at most and returns its status.

    output is an open file for what it writes; with stdout among the options only
    for its errors. Whatever happens, also to this process, nothing of it is left.
    """
    options = {"stdout": output, "stderr": output, "stdin": subprocess.PIPE, **options}
    process = start(command, **options)
    try:
        try:
            process.stdin.write(stdin.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended without reading
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimedOut(f"ended after {seconds:.0f} s") from None
    finally:
        end(process, grace)
