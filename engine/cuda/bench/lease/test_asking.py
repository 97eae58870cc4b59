import os
import sys
import tempfile
import time
import unittest

import asking


class Asking(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = open(os.path.join(folder.name, "log"), "ab", buffering=0)
        self.addCleanup(self.log.close)

    def program(self, script, seconds=10.0):
        return asking.Program([sys.executable, "-u", "-c", script], time.monotonic() + seconds, self.log, grace=0.2)

    def fails(self, script, pattern, seconds=10.0, line="steps 1"):
        with self.program(script, seconds) as p, self.assertRaisesRegex(asking.Failed, pattern):
            p.read()
            p.ask(line)

    def test_answers(self):
        with self.program("print('{\"ready\": 1}'); print('{\"line\": \"' + input() + '\"}')") as p:
            self.assertEqual(p.read(), {"ready": 1})
            self.assertEqual(p.ask("steps 3"), {"line": "steps 3"})

    def test_an_answer_in_pieces(self):
        with self.program("import time; print('{\"a', end=''); time.sleep(0.2); print('\": 1}')") as p:
            self.assertEqual(p.read(), {"a": 1})

    def test_no_answer(self):
        self.fails("import time; time.sleep(60)", "^no answer in time$", seconds=0.3)

    def test_half_an_answer(self):
        self.fails("import time; print('{\"sec', end=''); time.sleep(60)", "no answer in time, after half an answer: '{\"sec'", seconds=1)

    def test_it_ends_within_an_answer(self):
        self.fails("print('{\"sec', end='')", "ended with status 0 in the middle of an answer: '{\"sec'")

    def test_it_dies(self):
        self.fails("import sys; print('{}'); input(); sys.exit('out of memory')", "ended with status 1: out of memory")

    def test_it_dies_before_it_is_asked(self):
        self.fails("import sys; print('{}'); sys.exit('no card')", "ended with status 1: no card")

    def test_garbage(self):
        self.fails("print('Segmentation ' + 'x' * 1000)", r"answered what is not JSON: 'Segmentation x{87}\.\.\.'$")

    def test_not_there(self):
        with self.assertRaisesRegex(asking.Failed, "/nowhere/bench: No such file"):
            asking.Program(["/nowhere/bench"], time.monotonic() + 1, self.log)


class Scripted:
    """A program that answers from a list."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def read(self):
        return self.answers.pop(0)

    def ask(self, line):
        self.asked.append(line)
        return self.read()


class Measuring(unittest.TestCase):
    def test_steps(self):
        s = lambda seconds: {"seconds": seconds}
        p = Scripted({"ready": "x"}, s(9), s(0.3), s(2.0), s(2.2), s(2.1), {"device_us": 1})
        noted = []
        asking.measure(p, ["steps", "replay 5"], 2, lambda *x: noted.append(x))
        self.assertEqual(p.asked, ["steps 2", "steps 3", "steps 20", "steps 20", "steps 20", "replay 5"])
        self.assertEqual(noted, [("ready", {"ready": "x"}), ("step_ms", 100), ("step_ms", 110), ("step_ms", 105), ("replay", {"device_us": 1})])

    def test_answers_without_seconds(self):
        for answer in ([], {}, {"seconds": None}, {"seconds": 0}):
            with self.assertRaisesRegex(asking.Failed, "answered"):
                asking.measure(Scripted({}, {}, answer), ["steps"], 2, lambda *x: None)
