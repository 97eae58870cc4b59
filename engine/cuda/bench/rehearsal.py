"""Rehearses a whole lease with the emulation, from packing to the table.

    python3 engine/cuda/bench/rehearsal.py

It needs Go, g++ and a C compiler, and takes two or three minutes on two cores. Both
lists run from a copy of the packed files, without access to the sources if this user
can hide them. NVIDIA's tools are replaced by scripts that run the given command.
"""

import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
LEASE = os.path.join(HERE, "lease")

TOOLS = {
    "nvidia-smi": 'echo "a stand-in for a card, 580.00, 1000 MHz"',
    # Options with one value each, then the command.
    "compute-sanitizer": 'while [ "${1#--}" != "$1" ]; do shift 2; done; exec "$@"',
    "ncu": 'echo "$@"; while [ "${1#--}" != "$1" ]; do shift 2; done; exec "$@"',
}


def main():
    with tempfile.TemporaryDirectory(prefix="hatchery-rehearsal-") as work:
        at = lambda *names: os.path.join(work, *names)
        pictures(at("pictures.tar.gz"))
        os.mkdir(at("tools"))
        for name, script in TOOLS.items():
            with open(at("tools", name), "w", encoding="utf-8") as f:
                f.write(f"#!/bin/sh\n{script}\n")
            os.chmod(at("tools", name), 0o755)

        said = timed("pack", [sys.executable, LEASE, "pack", at("packed"), "--images", at("pictures.tar.gz")])
        want(said, r"lease\.tar\.xz: (\d+\.\d) MiB, of 40 at most", "the archive's size")
        shutil.copytree(at("packed"), at("elsewhere"))
        want_in(sorted(os.listdir(at("elsewhere"))), ["lease.pyz", "lease.tar.xz"])

        first = lease(work, "first")
        parts = "doctor driver nvml jit blas kernels cuda memcheck racecheck other-tests roof train".split()
        measured = "T32/hatchery T32/hatchery-untimed T32/compiled T128/hatchery B/hatchery B/compiled-cudnn L/hatchery T32/eager".split()
        table = [r"T32 +hatchery +\d", r"compiled STAND-IN +\d", r"attention_backward ", r"train: packed images, 2 classes", r"\ne2e +top-1"]
        check(first, at("first"), [*parts, *measured], table)

        more = lease(work, "more", "--more")
        table = [r"T32/products: products take \d", r"train-long: packed images"]
        check(more, at("more"), ["doctor", "T32/choices", "ncu", "train-long", "B/choices"], table)
        with open(at("more", "ncu.txt"), encoding="utf-8") as f:
            want(f.read(), r"(?s)--kernel-name regex:\w.*\"loss\"", "a step under ncu")
    print("the lease holds")


def lease(work, name, *options):
    """Runs a list from a copy of the packed files."""
    run = [sys.executable, "lease.pyz", "run", "--emulation", "--out", os.path.join(work, name), "--work", os.path.join(work, "unpacked"), *options]
    os.makedirs(os.path.join(work, "unpacked"), exist_ok=True)
    script = 'cd "$1" && shift && exec "$@"'
    hidden = []
    if shutil.which("unshare") and subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", ROOT], capture_output=True).returncode == 0:
        hidden = ["unshare", "-rm"]
        script = f'mount -t tmpfs none "{ROOT}" && ' + script
    else:
        print("the sources are not hidden: this user cannot use unshare")
    command = [*hidden, "sh", "-c", script, "sh", os.path.join(work, "elsewhere"), *run]
    environment = {**os.environ, "PATH": os.path.join(work, "tools") + os.pathsep + os.environ["PATH"], "CGO_ENABLED": "1"}
    environment["CGO_CFLAGS"] = f"-O2 -g -I{ROOT}/engine/cuda/driver/include"
    return timed(name, ["go", "run", "./engine/cuda/emulation/emulate", *command], environment)


def timed(name, command, environment=None):
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        sys.exit(f"{name}: status {done.returncode}")
    return done.stdout


def check(said, out, parts, table):
    for part in parts:
        want(said, rf"(?m)^ *\d+ s  {re.escape(part)}: ok", f"part {part}")
    for pattern in table:
        want(said, pattern, "the table")
    files = os.listdir(out)
    want_in(files, ["log.txt", "results.jsonl", "summary.txt", "table.txt"])
    if len(files) > 8 or len(said) > 12000:
        sys.exit(f"{len(files)} files and {len(said)} characters of output: 8 and 12000 are what comes back")
    again = subprocess.run([sys.executable, LEASE, "table", os.path.join(out, "results.jsonl")], capture_output=True, text=True).stdout
    if not again or again not in said:
        sys.exit(f"the table again is not the table:\n{again}")


def want(text, pattern, what):
    if not re.search(pattern, text):
        sys.exit(f"{what}: nothing matches {pattern!r}")


def want_in(found, names):
    if missing := [n for n in names if n not in found]:
        sys.exit(f"{', '.join(missing)} is missing among {', '.join(found)}")


def pictures(path):
    """Writes an archive of 32x32 images of two classes, one darker than the other."""
    folder = path + ".d"
    for split, count in (("train", 16), ("test", 8)):
        for label, light in (("dark", 60), ("light", 180)):
            os.makedirs(os.path.join(folder, split, label))
            for i in range(count):
                rows = b"".join(b"\0" + bytes((light + (i * 7 + x * y) % 60) for x in range(32) for _ in range(3)) for y in range(32))
                with open(os.path.join(folder, split, label, f"{i}.png"), "wb") as f:
                    f.write(b"\x89PNG\r\n\x1a\n")
                    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
                        f.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    with tarfile.open(path, "w:gz") as tar:
        for split in ("train", "test"):
            tar.add(os.path.join(folder, split), split)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
