"""The cases: a process that is killed, and a system call that fails."""

import json
import os
import re
import signal
import time

from case_folder import CaseFolder
from weights import Broken
from world import CALLS, FORMS

KILLS = ["moment", "rename", "fsync", "link", "write", "unlink", "mkdir", "close"]

FAILURES = [
    ("rename", ["EIO", "ENOSPC", "EACCES"]),
    ("write", ["EIO", "ENOSPC"]),
    ("open", ["EMFILE", "EACCES", "EIO"]),
    ("fsync", ["EIO", "ENOSPC"]),
    ("link", ["EIO", "ENOSPC", "EACCES"]),
    ("mkdir", ["EIO", "ENOSPC", "EACCES"]),
    ("unlink", ["EIO", "EACCES"]),
    ("close", ["EIO"]),
]

TRIES = 6  # attempts to finish a run


def inject(call, what):
    """Returns the options of strace that inject something into a call."""
    return ["-y", "-e", "trace=" + CALLS[call], "-e", f"inject={CALLS[call]}:{what}"]


def resume(form, folder):
    """Resumes the run until it is done."""
    for _ in range(TRIES):
        code, text = form.begin(folder)
        if code == 0:
            return
    raise Broken(f"not done after {TRIES} attempts; the last one ended with {code}: {text}")


def kill(world, name, number, rng, report):
    """Executes a case of a kill. If the process does not reach the drawn point, it halves the point until it does."""
    call = KILLS[number % len(KILLS)]
    form = world.form(FORMS[number % len(FORMS)])
    if call == "moment":
        after = rng.uniform(0, world.lasts[form.name])
        what = f"{form.name}, SIGKILL after {after * 1000:.0f} ms"
    else:
        when = rng.randint(1, max(1, world.counts[form.name][call]))
    while True:
        folder = CaseFolder(world, name)
        form.prepare(folder)
        if call == "moment":
            if form.flags:
                hit = later(form, folder, after)
            else:
                code, _ = form.begin(folder, kill_after=after)
                hit = code is None
        else:
            what = f"{form.name}, SIGKILL at {call} {when}"
            form.begin(folder, under=["strace", "-ff", "-qq", "-o", folder.trace, *inject(call, f"signal=KILL:when={when}")])
            hit = any("killed by SIGKILL" in line for thread in folder.traced() for line in thread)
        if hit:
            break
        if call == "moment":
            after /= 2
            what = f"{form.name}, SIGKILL after {after * 1000:.0f} ms"
        elif when == 1:
            raise Broken(f"{what}: no process reached it")
        else:
            when //= 2
    form.check(folder)
    report.add("killed")
    if rng.random() < 1 / 3:
        again = rng.choice(KILLS[1:])
        form.begin(folder, under=["strace", "-ff", "-qq", "-o", folder.trace, *inject(again, f"signal=KILL:when={rng.randint(1, 5)}")])
        what += f", resumed with one at {again}"
        form.check(folder)
    resume(form, folder)
    return what, form, folder


def later(form, folder, after):
    """Kills the background process of a run the given number of seconds after its start. Returns whether it was still running."""
    begin = time.monotonic()
    ids = folder.ids()
    args = ["resume", *form.flags, ids[0]] if ids else ["run", *form.flags, form.world.preset]
    code, text = folder.do(*args)
    if code != 0:
        raise Broken(f"not started: {text}")
    time.sleep(max(0, begin + after - time.monotonic()))
    with open(os.path.join(folder.runs, folder.ids()[0], "status.json"), encoding="utf-8") as f:
        status = json.load(f)
    if status["phase"] not in ("running", "queued", "paused"):
        return False
    try:
        os.kill(status["pid"], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def fail(world, name, number, rng, report):
    """Executes a case of a failing call."""
    call, errors = FAILURES[number % len(FAILURES)]
    form = world.form(FORMS[number % len(FORMS)])
    error = rng.choice(errors)
    when = rng.randint(1, max(1, world.counts[form.name][call]))
    # In some cases all later calls fail too. Not for write, since the process could not report why
    # it ended, nor for open and close, since it could not start.
    for_good = call not in ("write", "open", "close") and rng.random() < 0.3
    while True:
        what = f"{form.name}, {error} at {call} {when}{' and all after it' if for_good else ''}"
        folder = CaseFolder(world, name)
        form.prepare(folder)
        code, text = form.begin(folder, under=["strace", "-ff", "-qq", "-o", folder.trace,
                                              *inject(call, f"error={error}:when={when}{'+' if for_good else ''}")])
        hits = [line for thread in folder.traced() for line in thread if "(INJECTED)" in line]
        if hits:
            break
        if when == 1:
            raise Broken(f"{what}: no process reached it")
        when //= 2
    if code != 0:
        text += folder.logs()
        names = [n for hit in hits for n in paths(hit)]
        if "fatal error: runtime" in text:
            report.add("failing call of Go's runtime, which stopped the process")
        elif not names:
            report.add("failing call, stopped at a file without a name")
        elif any(n in text for n in names):
            report.add("failing call, stopped and named the file")
        else:
            raise Broken(f"{what}: ended with {code} and does not name {names[0]}, but says: {text}\n{hits[0]}")
    else:
        report.add("failing call, done nevertheless")
    form.check(folder)
    resume(form, folder)
    return what, form, folder


def paths(line):
    """Returns the names that a message may use for the file of a failed call: its own, and that of the file that a temporary file would replace."""
    if re.match(r"\w+\([12]<", line):
        return ["/dev/stdout", "/dev/stderr"]
    found = []
    for path in re.findall(r'"(/[^"]*)"', line) + re.findall(r"<(/[^>]*)>", line):
        name = os.path.basename(path)
        found += [n for n in (name, re.sub(r"(\.a\d+)?\.tmp$|\d+$", "", name).lstrip(".")) if len(n) > 1]
    return found
