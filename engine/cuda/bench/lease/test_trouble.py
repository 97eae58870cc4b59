"""What goes wrong around a lease: disks, terminals, and what users give it."""

import ast
import contextlib
import glob
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

import lease
import results
import test_lease
from parts import Phase

HERE = os.path.dirname(os.path.abspath(__file__))


@unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full, which is a full disk")
class Disks(test_lease.Case):
    def test_a_full_disk_costs_no_part_and_the_table_is_printed(self):
        made = self.lease(20)
        for file in (made.results.file, made.log, made.summary):
            file.file.close()
            file.file = open("/dev/full", "ab", buffering=0)
        for name in (os.path.join(self.out, "table.txt.new"), os.path.join(self.work, "before.jsonl.new")):
            os.symlink("/dev/full", name)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            made.results.note("T32/hatchery", "step_ms", 41.5, network="T32", program="hatchery", batch=1024)
            self.assertTrue(made.run([Phase(1, [self.shell("first", "echo x"), self.shell("second", "echo y")])]))
        self.assertRegex(said.getvalue(), r"T32 +hatchery +41\.50")
        for name in ("results.jsonl", "log.txt", "summary.txt", "table.txt"):
            self.assertEqual(said.getvalue().count(f"{os.path.join(self.out, name)}: No space left on device: the lease goes on"), 1, name)
        self.assertEqual(glob.glob(os.path.join(self.out, "*.new")), [])

    def test_what_a_full_disk_refused_is_written_when_there_is_room(self):
        complaints = []
        file = results.Growing("/dev/full", lambda *x: complaints.append(x))
        file.write(b"first\n")
        file.write(b"second\n")
        file.close()
        path = os.path.join(self.work, "file")
        file.file = open(path, "ab", buffering=0)
        file.write(b"third\n")
        file.close()
        with open(path, "rb") as f:
            self.assertEqual(f.read(), b"first\nsecond\nthird\n")
        self.assertEqual([path for path, _ in complaints], ["/dev/full"])

    def test_a_reader_that_goes_away_costs_nothing(self):
        script = (
            "import sys, lease, parts; made = lease.Lease('.', {}, sys.argv[1], sys.argv[2], 60); "
            "list_ = [parts.Part(f'part-{i}', 50, 1, parts.command(lambda _: ['true'])) for i in range(3)]; "
            "sys.exit(not made.run([parts.Phase(1, list_)]))"
        )
        reading, closed = os.pipe()
        os.close(reading)
        with open("/dev/full", "wb") as full, open(closed, "wb") as gone:
            for i, stdout in enumerate((full, gone)):
                out = os.path.join(self.work, str(i))
                done = subprocess.run([sys.executable, "-c", script, out, self.work], cwd=HERE, stdout=stdout, stderr=subprocess.PIPE, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                with open(os.path.join(out, "summary.txt"), encoding="utf-8") as f:
                    self.assertRegex(f.read(), r"(?s)standard output: .*the lease goes on without it\n.*part-2: ok.*3 ok\n")


class Input(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = folder.name
        self.archive = self.write("x", "no archive")

    def write(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def refused(self, *arguments, environment=None, python=(HERE,)):
        line = [sys.executable, *python, "run", "--archive", self.archive, "--work", self.work, "--out", os.path.join(self.work, "out"), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, env=environment)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_results_of_another_run_are_not_touched(self):
        os.mkdir(os.path.join(self.work, "out"))
        path = self.write("out/results.jsonl", "kept\n")
        self.assertIn(f"{path} holds the results of another run: name another folder with --out", self.refused())
        with self.assertRaisesRegex(ValueError, "holds the results of another run"):  # of one that began just now
            lease.Lease(self.work, {}, os.path.join(self.work, "out"), self.work, 60)
        with open(path, encoding="utf-8") as f:
            self.assertEqual(f.read(), "kept\n")

    def test_results_of_a_rehearsal_are_no_results_of_a_card(self):
        start = lambda emulation: json.dumps({"part": "lease", "what": "start", "value": {"emulation": emulation}})
        card, rehearsal = self.write("card", start(False)), self.write("rehearsal", start(True))
        self.assertIn(f"{rehearsal} is of a rehearsal, and this is a card", self.refused("--more", "--before", rehearsal))
        emulated = {**os.environ, "HATCHERY_LIBCUDA": "x"}
        self.assertIn(f"{card} is of a card, and this is a rehearsal", self.refused("--more", "--emulation", "--before", card, environment=emulated))
        self.assertNotEqual(lease.kept(self.work, True), lease.kept(self.work, False))

    def test_kept_results_that_are_torn(self):
        path = self.write("before.jsonl", '{"part": "T32')
        self.assertRegex(self.refused("--more"), f"{path}: no line of it is a result.*; remove it, or name the results of the first run with --before")

    def test_before_is_for_more(self):
        self.assertIn("--before: only run --more reads earlier results", self.refused("--before", self.archive))

    def test_a_python_without_lzma(self):
        hide = f"import runpy, sys; sys.modules['lzma'] = None; sys.argv[0] = {HERE!r}; runpy.run_path({HERE!r}, run_name='__main__')"
        self.assertRegex(self.refused(python=("-c", hide)), "was built without the module lzma, .*: run this with another python3")
        done = subprocess.run([sys.executable, "-c", hide, "table", "--markdown"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_python_that_is_too_old(self):
        old = f"import runpy, sys; sys.version_info = (3, 6, 9); runpy.run_path({HERE!r}, run_name='__main__')"
        done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (1, "lease: this is Python 3.6; Python 3.9 or a later one is needed\n"))

    def test_python_3_9_reads_every_file(self):
        """And 3.6 the one that says which Python is needed."""
        for path in glob.glob(os.path.join(HERE, "*.py")):
            with open(path, encoding="utf-8") as f:
                ast.parse(f.read(), path, feature_version=(3, 6) if path.endswith("__main__.py") else (3, 9))
