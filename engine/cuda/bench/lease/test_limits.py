import os
import sys
import tempfile
import time
import unittest

import limits
import results

# A grandchild that ignores SIGTERM, writes its id, and hangs.
STUBBORN = "import os,signal,sys,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"


def running(pid):
    """Whether a process runs: one that ended and that nobody asked for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Limits(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.pid = os.path.join(folder.name, "pid")
        self.output = results.Growing(os.path.join(folder.name, "output"), self.fail)
        self.addCleanup(self.output.close)

    def written(self):
        with open(self.output.path, encoding="utf-8") as f:
            return f.read()

    def test_status_and_output(self):
        self.assertEqual(limits.execute(["sh", "-c", "cat; echo said >&2; exit 7"], 10, self.output, stdin="asked\n"), limits.Ended(7, "asked\nsaid\n"))
        self.assertEqual(self.written(), "asked\nsaid\n")

    def test_a_command_that_hangs_is_ended(self):
        began = time.monotonic()
        with self.assertRaisesRegex(limits.TimedOut, "ended after 0 s"):
            limits.execute(["sleep", "60"], 0.2, self.output)
        self.assertLess(time.monotonic() - began, 2)

    def test_a_grandchild_that_ignores_sigterm_is_ended(self):
        shell = f"{sys.executable} -c \"{STUBBORN}\" {self.pid} & wait"
        with self.assertRaises(limits.TimedOut):
            limits.execute(["sh", "-c", shell], 2, self.output, grace=0.3)
        self.assertFalse(running(self.grandchild()))

    def test_a_grandchild_does_not_outlive_a_command_that_ends(self):
        shell = f"{sys.executable} -c \"{STUBBORN}\" {self.pid} & while ! [ -s {self.pid} ]; do sleep 0.05; done"
        self.assertEqual(limits.execute(["sh", "-c", shell], 10, self.output, grace=0.3).status, 0)
        self.assertFalse(running(self.grandchild()))

    def grandchild(self):
        with open(self.pid, encoding="utf-8") as f:
            return int(f.read())

    def test_a_command_that_is_not_there(self):
        with self.assertRaises(FileNotFoundError):
            limits.execute(["/nowhere/program"], 1, self.output)
