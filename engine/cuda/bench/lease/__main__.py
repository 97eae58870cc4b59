"""Checks, measures and trains on a GPU that is available for ten minutes, in one command.

  pack   here: builds programs and packs them into one archive
  run    on the card's machine: checks, measures, trains, and ends with a table
  table  prints the table of results again
"""

import sys

if sys.version_info < (3, 9):
    sys.exit("lease: this is Python %d.%d; Python 3.9 or a later one is needed" % sys.version_info[:2])
sys.dont_write_bytecode = True  # leave no files among the sources

import argparse
import math
import os
import tempfile

import lease
import pack
import parts
import results
import table

EMULATE = "go run ./engine/cuda/emulation/emulate COMMAND"


def main():
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.reconfigure(errors="replace")  # the terminal may not support all characters
    options = arguments()
    try:
        sys.exit(options.do(options))
    except lease.Interrupted as e:
        sys.exit(fail(f"interrupted by {e} before it began"))
    except (pack.Refused, ValueError) as e:
        sys.exit(fail(str(e)))
    except OSError as e:
        sys.exit(fail(f"{e.filename or 'a file'}: {e.strerror}"))


def fail(text):
    print(f"lease: {text}", file=sys.stderr)
    return 2


def arguments():
    p = argparse.ArgumentParser(prog="lease", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = p.add_subparsers(required=True, metavar="COMMAND")

    c = commands.add_parser("pack", help="build and pack, for a machine without Go, a C compiler or the sources")
    c.add_argument("folder", metavar="FOLDER", help=f"where {pack.ARCHIVE} and {pack.PROGRAM} go")
    c.add_argument(
        "--images", metavar="ARCHIVE",
        help="pictures of 32x32 to train on: a tar, plain or of gzip, xz or zstd, with train/CLASS/* and val/CLASS/* or test/CLASS/*",
    )
    c.add_argument("--limit", type=mebibytes, default=40, metavar="MIB", help="the most that the archive may have (default 40)")
    c.set_defaults(do=do_pack)

    c = commands.add_parser("run", help="run on the machine with the card", epilog=RUN, formatter_class=argparse.RawDescriptionHelpFormatter)
    c.add_argument("--more", action="store_true", help="the second, shorter run, for what the first one left open")
    c.add_argument("--minutes", type=minutes, metavar="M", help="the time there is, unpacking and table included (default 9.75, with --more 4)")
    c.add_argument("--only", metavar="PART,...", help="run only these parts, after those that look at the machine (their names: --list)")
    c.add_argument("--list", action="store_true", help="print the names of the parts and end")
    c.add_argument("--out", metavar="DIR", help="where results go, in a folder without results (default $OUT, else results)")
    c.add_argument("--before", metavar="FILE", help="with --more: results.jsonl of the first run (default: that of this machine)")
    c.add_argument("--archive", metavar="FILE", help=f"what pack wrote (default: {pack.ARCHIVE} beside this program)")
    c.add_argument("--work", metavar="DIR", help="where it is unpacked and kept for run --more (default: a folder for temporary files)")
    c.add_argument("--emulation", action="store_true", help=f"rehearse on the CPU: {EMULATE} sets what it needs")
    c.set_defaults(do=do_run)

    c = commands.add_parser("table", help="print the table of results")
    c.add_argument("file", metavar="FILE", nargs="?", help="a results.jsonl")
    c.add_argument("--markdown", action="store_true", help="for RESULTS.md; without FILE only what is expected")
    c.set_defaults(do=do_table)
    return p.parse_args()


RUN = """exit status:
  0  nothing failed; what there was no time for is named in summary.txt
  1  something failed, or nothing could be checked or measured
  2  the lease could not begin"""


def minutes(text):
    return at_least(1, text, "minutes")


def mebibytes(text):
    return at_least(0, text, "MiB")


def at_least(least, text, what):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < least:
        raise argparse.ArgumentTypeError(f"{text}: want a number of {what}, {least} or more")
    return value


def do_pack(o):
    pack.pack(o.folder, o.images, o.limit)
    print(f"on the card: python3 {os.path.join(o.folder, pack.PROGRAM)} run")
    return 0


def do_run(o):
    began = lease.now()
    if o.list:
        for title, phases in (("run", parts.FIRST), ("run --more", parts.more([]))):
            print(f"{title}: {', '.join(p.name for phase in phases for p in phase.parts)}")
        return 0
    archive = o.archive or os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), pack.ARCHIVE)
    out = os.path.abspath(o.out or os.environ.get("OUT") or "results")
    time = o.minutes or (4 if o.more else 9.75)
    if os.path.exists(os.path.join(out, "results.jsonl")):
        raise ValueError(results.taken(os.path.join(out, "results.jsonl")))
    if o.before and not o.more:
        raise ValueError("--before: only run --more reads earlier results")
    if o.emulation and not os.environ.get("HATCHERY_LIBCUDA"):
        raise ValueError(f"--emulation: HATCHERY_LIBCUDA does not name the emulation's library; at the root of the sources: {EMULATE}")
    with open(archive, "rb") as f:
        identity = pack.digest(f)
    work = os.path.abspath(o.work or os.path.join(tempfile.gettempdir(), f"hatchery-lease-{os.getuid()}-{identity[:12]}"))
    os.makedirs(work, mode=0o700, exist_ok=True)
    if os.stat(work).st_uid != os.getuid():
        raise ValueError(f"{work} is another user's: name a folder of your own with --work")
    before = earlier(o.before, lease.kept(work, o.emulation), o.emulation) if o.more else []
    phases = parts.more(before) if o.more else parts.FIRST
    only = chosen(o.only, phases)
    with lease.interruptible(), pack.locked(work):
        place, manifest = pack.unpack(archive, work)
        running = lease.Lease(place, manifest, out, work, 60 * time, began=began, emulation=o.emulation, before=before)
        running.say(f"hatchery {manifest['revision'] or 'of an unknown revision'}, {time:g} minutes, results in {out}, unpacked in {work}")
        if o.more and not before:
            running.say("no results of an earlier run are known here, so the training is short: name them with --before results.jsonl")
        return 0 if running.run(phases, only) else 1


def earlier(named, kept, emulation):
    """Returns the results of the first run, from the named file or from this machine."""
    path = named or kept
    if not named and not os.path.exists(kept):
        return []
    try:
        before = results.read(path)
    except ValueError as e:
        if named:
            raise
        raise ValueError(f"{e}; remove it, or name the results of the first run with --before") from e
    kinds = {bool(r["value"].get("emulation")) for r in before if r["what"] == "start" and isinstance(r["value"], dict)}
    if not emulation in kinds and kinds:
        raise ValueError(f"{path} is of a {'card' if emulation else 'rehearsal'}, and this is a {'rehearsal' if emulation else 'card'}: name another with --before")
    return before


def chosen(only, phases):
    """Returns the names in --only, which must be those of parts."""
    names = [p.name for phase in phases for p in phase.parts]
    wanted = [w.strip() for w in only.split(",")] if only else []
    for w in wanted:
        if w not in names:
            raise ValueError(f"--only {w}: there is no such part; there are {', '.join(names)}")
    return wanted


def do_table(o):
    if not o.file and not o.markdown:
        raise ValueError("table: want a results.jsonl")
    found = results.read(o.file) if o.file else []
    print((table.markdown if o.markdown else table.text)(found), end="")
    return 0


if __name__ == "__main__":
    main()
