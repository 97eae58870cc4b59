"""Kills hatchery at all kinds of moments, makes its system calls fail, and compares the weights.

    python3 engine/launch/kills                          # 40 kills, 40 failures: some minutes
    python3 engine/launch/kills --kills 6 --failures 6   # the short form
    python3 engine/launch/kills --seed 7 --only kill-12  # repeats one case

Each case is a separate short run: in the foreground, detached, in the queue, as a study, or
stage by stage. Its first process is killed at a system call or at a random time, and in one
case of three the next process is killed as well; or one of its system calls fails, alone or
with all later calls of the same kind. Then the run is resumed until it is done. The tensors of
every stage must be equal, bit for bit, to those of an undisturbed run. In between, `runs` and
`status` must work, a process that fails must name the file, and in the end there must be no
file that an undisturbed run does not leave.

This needs Go (or --hatchery), strace, and permission to trace processes. Without them it prints
the reason and exits with 0, or with 1 if CI=true. The points of failure are drawn from the seed,
which is printed. System calls are counted per thread, so the exact point at which a process
ends depends on how Go schedules its threads. The folder of a case that fails is kept.
"""

import sys

sys.dont_write_bytecode = True  # leave no files among the sources

import argparse
import collections
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

from cases import fail, kill
from case_folder import CaseFolder
from weights import Broken, differ
from world import FORMS, World

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


class Report:
    """The numbers of cases by outcome, and of files that they left by kind."""

    def __init__(self):
        self.counts, self.left = collections.Counter(), collections.Counter()

    def add(self, what):
        self.counts[what] += 1


def unavailable():
    """Returns the reason why the cases cannot be executed here, or None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    p = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "-e", "inject=close:signal=KILL:when=9999", "true"],
                       stderr=subprocess.PIPE, text=True, check=False)
    return None if p.returncode == 0 else f"strace cannot trace here: {p.stderr.strip()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--kills", type=int, default=40, metavar="N", help="number of kills (%(default)s)")
    parser.add_argument("--failures", type=int, default=40, metavar="N", help="number of failing system calls (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed for the points of failure (%(default)s)")
    parser.add_argument("--only", metavar="CASE", help="execute only this case, kill-N or failure-N")
    parser.add_argument("--hatchery", metavar="FILE", help="the program; built from this repository by default")
    o = parser.parse_args()
    reason = unavailable()
    if reason is not None:
        if os.environ.get("CI") == "true":
            sys.exit(f"kills: {reason}")
        print(f"kills: skipped: {reason}")
        return
    begin = time.monotonic()
    directory = os.path.realpath(tempfile.mkdtemp(prefix="hatchery-kills-"))
    hatchery = o.hatchery and os.path.abspath(o.hatchery)
    if hatchery is None:
        hatchery = os.path.join(directory, "hatchery")
        subprocess.run(["go", "build", "-o", hatchery, "."], cwd=ROOT, check=True)
    world, report = World(directory, hatchery), Report()
    cases = [(f"kill-{i}", kill, i) for i in range(o.kills)] + [(f"failure-{i}", fail, i) for i in range(o.failures)]
    if o.only is not None:
        kind, _, number = o.only.partition("-")
        cases = [(o.only, {"kill": kill, "failure": fail}[kind], int(number))]
    print(f"{len(cases)} cases from seed {o.seed} in {directory}", flush=True)
    for form in {FORMS[i % len(FORMS)]: None for _, _, i in cases}:
        world.measure(form)
    for name, do, i in cases:
        repeat = f"repeat it with --seed {o.seed} --only {name}; its folder is {os.path.join(directory, name)}"
        try:
            what, form, folder = do(world, name, i, random.Random(f"{o.seed} {name}"), report)
            weights, files = world.twins[form.name]
            differ(form.weights(folder), weights)
            if folder.files() - files:
                report.add("equal, with something to collect")
                folder.collect()
        except Broken as err:
            CaseFolder(world, name, keep=True).end()
            report.add("BROKEN")
            print(f"{name:11} BROKEN: {err}\n    {repeat}", flush=True)
            continue
        report.add("equal")
        left = sorted(folder.files() - files)
        if left:
            report.add("equal, but FILES ARE LEFT")
            report.left.update(kind_of(f) for f in left)
            print(f"{name:11} {what}: equal, but FILES ARE LEFT: {' '.join(left)}\n    {repeat}", flush=True)
            continue
        print(f"{name:11} {what}: equal", flush=True)
        shutil.rmtree(folder.dir)
    print(f"\nin {time.monotonic() - begin:.0f} s, of {len(cases)}:")
    for what, n in sorted(report.counts.items()):
        print(f"{n:5} {what}")
    for what, n in sorted(report.left.items()):
        print(f"{n:5} left: {what}")
    if report.counts["equal"] < len(cases) or report.left:
        sys.exit(1)
    shutil.rmtree(directory)


def kind_of(path):
    """Returns a file's path without its random parts."""
    return re.sub(r"[0-9a-f]{16}|\d{3,}", "N", path)


if __name__ == "__main__":
    main()
