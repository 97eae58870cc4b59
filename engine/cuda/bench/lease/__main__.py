"""Everything that is wanted of a GPU that is there for ten minutes, in one command.

  pack   here: builds programs and packs them into one archive
  run    on the card's machine: checks, measures, trains, and ends with a table
  table  prints the table of results again
"""

import argparse
import hashlib
import os
import sys
import tempfile

sys.dont_write_bytecode = True  # nothing is left among the sources

import lease
import pack
import parts
import results
import table

EMULATE = "go run ./engine/cuda/emulation/emulate COMMAND"


def main():
    options = arguments()
    try:
        sys.exit(options.do(options))
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
    c.add_argument("--limit", type=float, default=40, metavar="MIB", help="the most that the archive may have (default 40)")
    c.set_defaults(do=do_pack)

    c = commands.add_parser("run", help="run on the machine with the card")
    c.add_argument("--more", action="store_true", help="the shorter list, of what is left to know after a run")
    c.add_argument("--minutes", type=float, metavar="M", help="the time there is, unpacking and table included (default 9.75, with --more 4)")
    c.add_argument("--only", metavar="PART,...", help="these parts alone")
    c.add_argument("--out", metavar="DIR", help="where results go (default $OUT, else results)")
    c.add_argument("--before", metavar="FILE", help="with --more: results.jsonl of the run before (default: that of this machine)")
    c.add_argument("--archive", metavar="FILE", help=f"what pack wrote (default: {pack.ARCHIVE} beside this program)")
    c.add_argument("--work", metavar="DIR", help="where it is unpacked and kept for run --more (default: a folder for temporary files)")
    c.add_argument("--emulation", action="store_true", help=f"rehearse on a processor: {EMULATE} sets what it needs")
    c.set_defaults(do=do_run)

    c = commands.add_parser("table", help="print the table of results")
    c.add_argument("file", metavar="FILE", nargs="?", help="a results.jsonl")
    c.add_argument("--markdown", action="store_true", help="for RESULTS.md; without FILE only what is expected")
    c.set_defaults(do=do_table)
    return p.parse_args()


def do_pack(o):
    for line in pack.pack(o.folder, o.images, o.limit):
        print(line)
    print(f"on the card: python3 {os.path.join(o.folder, pack.PROGRAM)} run")
    return 0


def do_run(o):
    began = lease.now()
    archive = o.archive or os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), pack.ARCHIVE)
    out = os.path.abspath(o.out or os.environ.get("OUT") or "results")
    minutes = o.minutes or (4 if o.more else 9.75)
    if minutes <= 0.25:
        raise ValueError(f"--minutes {o.minutes:g}: want more than 0.25, of which the end takes some seconds")
    if o.emulation and not os.environ.get("HATCHERY_LIBCUDA"):
        raise ValueError(f"--emulation: HATCHERY_LIBCUDA does not name the emulation's library; at the root of the sources: {EMULATE}")
    with open(archive, "rb") as f:
        identity = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()
    work = os.path.abspath(o.work or os.path.join(tempfile.gettempdir(), f"hatchery-lease-{os.getuid()}-{identity[:12]}"))
    os.makedirs(work, mode=0o700, exist_ok=True)
    if os.stat(work).st_uid != os.getuid():
        raise ValueError(f"{work} is another user's: name a folder of your own with --work")
    before = []
    if o.more:
        kept = os.path.join(work, "before.jsonl")
        if o.before or os.path.exists(kept):
            before = results.read(o.before or kept)
    phases = parts.more(before) if o.more else parts.FIRST
    only = chosen(o.only, phases)
    place, manifest = pack.unpack(archive, work)
    running = lease.Lease(place, manifest, out, work, 60 * minutes, began=began, emulation=o.emulation, before=before)
    running.say(f"hatchery {manifest['revision'] or 'of an unknown revision'}, {minutes:g} minutes, results in {out}, unpacked in {work}")
    return 0 if running.run(phases, only) else 1


def chosen(only, phases):
    """The names of --only, each of which must be a part's."""
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
