import os
import sys
import tempfile
import time
import unittest
import unittest.mock

import asking
import results


class Asking(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = results.Growing(os.path.join(folder.name, "log"), self.fail)
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

    def test_it_ends_while_a_process_that_it_started_holds_its_output(self):
        began = time.monotonic()
        self.fails("import subprocess; print('{}'); subprocess.Popen(['sleep', '60'], start_new_session=True)", "ended with status 0")
        self.assertLess(time.monotonic() - began, 3)

    def test_an_answer_without_end(self):
        with unittest.mock.patch.object(asking, "LONGEST", 1 << 20):
            self.fails("print('x' * 3000000, end='', flush=True); input(); input()", "an answer has more than 1 MiB: 'xxx")

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
        p = Scripted({"ready": "x"}, s(9), s(0.3), s(2.0), s(2.2), s(2.1), {"device_us": 1, "host_us": 2})
        noted = []
        asking.measure(p, ["steps", "replay 5"], 2, lambda *x: noted.append(x))
        self.assertEqual(p.asked, ["steps 2", "steps 3", "steps 20", "steps 20", "steps 20", "replay 5"])
        self.assertEqual(noted, [("ready", {"ready": "x"}), ("step_ms", 100), ("step_ms", 110), ("step_ms", 105), ("replay", {"device_us": 1, "host_us": 2})])

    def test_answers_without_seconds(self):
        for answer in (None, [], {}, {"seconds": None}, {"seconds": 0}, {"seconds": -1}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"seconds": "1"}):
            with self.assertRaisesRegex(asking.Failed, "answered"):
                asking.measure(Scripted({}, {}, answer), ["steps"], 2, lambda *x: None)

    def test_answers_of_an_unexpected_shape_are_not_noted(self):
        kind = {"Name": "gelu", "Kernel": "gelu", "Count": 1, "Microseconds": 1, "Bytes": 1, "FLOPs": 0}
        product = {"Product": "a", "Count": 1, "Chosen": 0, "Microseconds": [1.0]}
        for line, good, bad in (
            ("replay 1", {"device_us": 1, "host_us": 0}, [None, [], {"device_us": None, "host_us": 1}, {"device_us": float("nan"), "host_us": 1}]),
            ("roof 8", {"copy": 1, "product": 2}, [[1, 2], {"seconds": float("nan")}, {"copy": 0, "product": 1}, {"copy": True, "product": 1}]),
            ("profile 1", [kind], [None, [], {}, [None], [{**kind, "Name": 3}], [{**kind, "Count": "x"}], [{**kind, "Bytes": None}]]),
            ("choices 1", [product, {**product, "Microseconds": None}], [None, [1], [{**product, "Chosen": 1}], [{**product, "Microseconds": ["x"]}]]),
        ):
            noted = []
            asking.measure(Scripted({}, good), [line], 2, lambda *x: noted.append(x))
            self.assertEqual(noted[1:], [(line.split()[0], good)])
            for answer in bad:
                noted = []
                with self.subTest(line=line, answer=answer), self.assertRaisesRegex(asking.Failed, f"unexpected answer to '{line}': "):
                    asking.measure(Scripted({}, answer), [line], 2, lambda *x: noted.append(x))
                self.assertEqual(noted, [("ready", {})])
        for answer in (None, [], "x", {"remarks": "x"}, {"remarks": [1]}):
            with self.subTest(answer=answer), self.assertRaisesRegex(asking.Failed, "unexpected answer to 'ready'"):
                asking.measure(Scripted(answer), [], 2, lambda *x: None)
