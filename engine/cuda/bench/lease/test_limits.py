import os
import sys
import tempfile
import time
import unittest
import unittest.mock

import limits
import output
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
            limits.execute(["sh", "-c", shell], 1, self.output, grace=0.3)
        self.assertFalse(running(self.grandchild()))

    def test_a_grandchild_does_not_outlive_a_command_that_ends(self):
        shell = f"{sys.executable} -c \"{STUBBORN}\" {self.pid} & while ! [ -s {self.pid} ]; do sleep 0.05; done"
        self.assertEqual(limits.execute(["sh", "-c", shell], 10, self.output, grace=0.3).status, 0)
        self.assertFalse(running(self.grandchild()))

    def test_a_descendant_that_left_its_group_is_ended(self):
        """Whether its parent has ended by then or not."""
        leaves = f"import os; os.setsid(); {STUBBORN}"
        for status in (None, 0):
            with self.subTest(status=status):
                script = os.path.join(os.path.dirname(self.pid), "script")
                with open(script, "w", encoding="utf-8") as f:
                    f.write("import subprocess, sys, time, os\n"
                            f"subprocess.Popen([sys.executable, '-c', {leaves!r}, {self.pid!r}])\n"
                            f"while not (os.path.exists({self.pid!r}) and os.path.getsize({self.pid!r})): time.sleep(0.02)\n"
                            + ("time.sleep(60)\n" if status is None else ""))
                if status is None:
                    with self.assertRaises(limits.TimedOut):
                        limits.execute([sys.executable, script], 1, self.output, grace=0.3)
                else:
                    self.assertEqual(limits.execute([sys.executable, script], 10, self.output, grace=0.3).status, 0)
                self.assertFalse(running(self.grandchild()))
                os.remove(self.pid)

    def test_a_process_that_cannot_be_ended_costs_no_more_than_its_grace(self):
        """As one that is stuck in a driver: here no signal reaches it."""
        began = time.monotonic()
        with unittest.mock.patch.multiple(limits, _signal=lambda *_: True, _kill=lambda *_: None):
            with self.assertRaisesRegex(limits.TimedOut, r"ended after 0 s; process \d+ or one that it started could not be ended"):
                limits.execute(["sleep", "60"], 0.1, self.output, grace=0.2)
        self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(limits.execute(["true"], 10, self.output, grace=0.2).status, 0)  # what follows does not wait for it
        stuck = limits._stuck.pop()
        stuck.kill()
        stuck.wait()

    def test_what_a_signal_left_running_is_ended_at_last(self):
        process = limits.start(["sleep", "60"])
        limits.end_all()
        self.assertIsNotNone(process.returncode)
        self.assertEqual(limits._running, {})

    def test_a_flood_is_cut(self):
        with unittest.mock.patch.object(output, "MOST", 1 << 20):
            for _ in range(3):
                ended = limits.execute(["sh", "-c", "echo first; yes | head -c 5000000; echo last"], 20, self.output)
                self.assertRegex(ended.said, r"(?s)^first\n.*\.\.\. \d+ bytes were left out here \.\.\.\n.*last\n$")
        self.assertTrue(self.written().endswith("y\nlast\n"))
        self.assertLess(os.path.getsize(self.output.path), 1 << 20)

    def grandchild(self):
        with open(self.pid, encoding="utf-8") as f:
            return int(f.read())

    def test_a_command_that_is_not_there(self):
        with self.assertRaises(FileNotFoundError):
            limits.execute(["/nowhere/program"], 1, self.output)
