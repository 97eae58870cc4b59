import os
import tempfile
import unittest

import results
import table
import training

RESULTS_MD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "RESULTS.md")


def row(network, program, ms, **more):
    found = [{"part": f"{network}/{program}", "network": network, "program": program, "batch": 1024, "what": "step_ms", "value": v} for v in ms]
    return found + [{**found[0], "what": what, "value": value} for what, value in more.items()]


FOUND = [
    {"part": "environment", "what": "card", "value": "a card"},
    {"part": "roof", "what": "roof", "value": {"copy": 3e12, "product": 700e12}},
    *row(
        "T32", "hatchery", [40, 41, 44], ready={"ready": "x", "remarks": ["no room"]}, replay={"device_us": 36900, "host_us": 42},
        profile=[{"Name": "gelu", "Kernel": "gelu_bf16", "Count": 32, "Microseconds": 1000, "Bytes": 1500000000, "FLOPs": 0}],
    ),
    *row("T32", "compiled", [60, 62, 61]),
    *row("T32", "eager", [82, 82, 82]),
    {"part": "B/hatchery", "network": "B", "program": "hatchery", "batch": 256, "what": "failed", "value": "ended with status 2:\nout of memory"},
]


class Table(unittest.TestCase):
    def test_rows(self):
        found = [FOUND[0], FOUND[1], FOUND[5], *FOUND[2:5], *FOUND[6:]]  # ready comes first in a file
        said = table.text(found)
        self.assertRegex(said, r"T32 +hatchery +41\.00 +37 +24976 +9\.8 % +36\.90 +10\.0 % +42 us  1\.49 x compiled\n")
        self.assertRegex(said, r"T32 +eager +82\.00 +78 +12488 +0\.0 %\n")
        self.assertRegex(said, r"B +hatchery +failed: ended with status 2: out of memory\n")
        self.assertIn("T32/hatchery: no room\n", said)
        self.assertRegex(said, r"gelu +gelu_bf16 +32 +1000 +100 % +50 %\n")
        self.assertNotIn("EMULATION", said)

    def test_a_stand_in_is_called_so(self):
        found = [
            *row("T32", "hatchery", [40]),
            {"part": "T32/compiled", "network": "T32", "program": "compiled", "batch": 4, "what": "ready", "value": {"ready": "x", "standin": True}},
            *row("T32", "compiled", [2]),
        ]
        self.assertRegex(table.text(found), r"hatchery .* compiled \(STAND-IN\)\n")
        self.assertRegex(table.text(found), r"compiled STAND-IN ")

    def test_a_section_that_cannot_be_made_costs_no_other(self):
        """Results of any shape, as of an older lease or a file that was edited."""
        values = [None, [1, 2], {}, "x", 3, float("nan"), [None], {"emulation": {}}, {"methods": {"e2e": {}}}]
        for what in ("start", "card", "roof", "ready", "step_ms", "replay", "profile", "choices", "failed", "training"):
            for value in values:
                bad = {"part": "T32/hatchery", "what": what, "value": value, "network": "T32", "program": "hatchery", "batch": None}
                with self.subTest(what=what, value=value):
                    self.assertRegex(table.text([*FOUND, bad]), r"T32 +compiled +61\.00 ")
                    table.markdown([*FOUND, bad])
        for bad in ({"network": None}, {"network": 3}, {"network": [1]}, {}):
            self.assertRegex(table.text([*FOUND, {"part": "x", "what": "step_ms", "value": 1, "program": "eager", **bad}]), r"T32 +eager +82\.00")
        said = table.text([*FOUND, {"part": "roof", "what": "roof", "value": [1, 2]}])
        self.assertIn("roof: cannot be shown: TypeError: ", said)

    def test_a_run_that_did_not_report_all(self):
        run = {"data": "x", "emulation": False, "methods": {"e2e": {"top1": 50.0}}, "stages": {}, "rates": {}, "unread": 2}
        said = "\n".join(table.training("train", run))
        self.assertIn("e2e         top-1 50.00 %, best not reported, training not reported", said)
        self.assertIn("events of the run that could not be read: 2", said)

    def test_nothing_measured(self):
        self.assertEqual(table.text([]), "\n")

    def test_a_torn_line_is_left_out_and_what_follows_is_read(self):
        with tempfile.TemporaryDirectory() as work:
            path = os.path.join(work, "results.jsonl")
            noted = results.Results(path, self.fail)
            for i in range(2):
                noted.note("roof", "roof", i)
                noted.file.write(b'{"part": "T32", "wh\n')
            noted.file.write(b'{"part": "T32", "wh')
            noted.file.close()
            self.assertEqual([r["value"] for r in results.read(path)], [0, 1])

    def test_choices(self):
        products = [{"Product": "a", "Count": 32, "Chosen": 2, "Microseconds": [5.0, 3.0, 4.0]}, {"Product": "b", "Count": 1, "Microseconds": []}]
        said = "\n".join(table.choices("T32", products))
        self.assertIn("products take 128 us as chosen, 160 us with their first algorithms, 96 us with the fastest", said)
        self.assertRegex(said, r"a +x  32  chosen     4\.0  first     5\.0  fastest     3\.0, number 2 of 3")

    def test_markdown(self):
        said = table.markdown([r for r in FOUND if r["what"] == "step_ms"])
        self.assertIn("| hatchery | 37 | 41.00 | 24976 | | |\n", said)
        self.assertIn("| compiled | 53 | 61.00 | 16787 | 1.49 | 1.3 |\n", said)
        self.assertIn("| hatchery | 149 | not yet | not yet | not yet | |\n", said)

    def test_results_md_expects_the_same(self):
        """What RESULTS.md expects is what the table expects; what it measured is its own."""
        if not os.path.exists(RESULTS_MD):
            self.skipTest("without the sources")
        with open(RESULTS_MD, encoding="utf-8") as f:
            there = [strip(line) for line in f]
        for line in table.markdown([]).splitlines():
            self.assertIn(strip(line), there)


def strip(line):
    """A row of the table without what is measured, which is in columns 9 to 11."""
    cells = [c.strip() for c in line.strip().strip("|").split("|")]
    return tuple(cells[:8] + cells[11:])


class Training(unittest.TestCase):
    EVENTS = """{"time":"2026-01-01T00:00:00Z","kind":"stage-start","stage":"meta"}
{"time":"2026-01-01T00:00:03.5Z","kind":"epoch","stage":"meta","epoch":1,"values":{}}
{"time":"2026-01-01T00:00:05.25Z","kind":"epoch","stage":"meta","epoch":2,"values":{}}
{"time":"2026-01-01T00:00:06Z","kind":"stage-end","stage":"meta","values":{"top1":40.5,"train_seconds":4}}
{"time":"2026-01-01T00:00:07Z","kind":"stage-start","stage":"module-1"}
{"time":"2026-01-01T00:00:07Z","kind":"stage-start","stage":"module-2"}
{"time":"2026-01-01T00:00:08Z","kind":"epoch","stage":"module-1","epoch":1,"values":{}}
{"time":"2026-01-01T00:00:09Z","kind":"epoch","stage":"module-2","epoch":1,"values":{}}
{"time":"2026-01-01T00:00:10Z","kind":"result","method":"assembling","values":{"top1":50}}
{"time":"2026-01-01T00:0"""

    def test_events(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write(self.EVENTS)
            f.flush()
            found = training.summarize(f.name)
        self.assertEqual(found["rates"], {"meta": 2.625, "modules": 2})
        self.assertEqual(found["stages"], {"meta": {"top1": 40.5, "seconds": 4}})
        self.assertEqual(found["methods"], {"assembling": {"top1": 50}})

    def test_events_of_an_unexpected_shape(self):
        odd = ["null", "[1]", '{"kind":"result"}', '{"kind":"epoch","stage":"e2e","epoch":1}', '{"kind":"stage-start","stage":"e2e","time":3}', '{"kind":"result","method":"x","values":7}']
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("\n".join(odd) + "\n" + self.EVENTS)
            f.flush()
            found = training.summarize(f.name)
        self.assertEqual(found["unread"], len(odd))
        self.assertEqual(found["methods"], {"assembling": {"top1": 50}})

    def test_as_many_epochs_as_fit(self):
        rates = {"meta": 1.0, "modules": 1.0, "finetune": 1.0, "e2e": 1.0}
        before = [{"part": "train", "what": "training", "value": {"rates": rates}}]
        self.assertEqual(training.Plan.long(before, 100), training.Plan(meta=30, modules=20, finetune=10, e2e=40))
        self.assertEqual(training.Plan.long(before, 1e6), training.Plan(meta=60, modules=40, finetune=20, e2e=80))
        self.assertEqual(training.Plan.long(before, 0), training.Plan(1, 1, 1, 1))
        self.assertEqual(training.Plan.long([], 100), training.SHORT)
        for value in ({"rates": {"meta": 1.0}}, {"rates": [1]}, {}, None):
            self.assertEqual(training.Plan.long([{"part": "train", "what": "training", "value": value}], 100), training.SHORT)
