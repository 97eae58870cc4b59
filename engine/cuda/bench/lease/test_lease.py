import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from dataclasses import replace

import lease
import limits
import networks
import parts
import results
from parts import Part, Phase

HERE = os.path.dirname(os.path.abspath(__file__))


class Case(unittest.TestCase):
    """A lease in a folder of its own."""

    def setUp(self):
        self.work = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.work)
        self.addCleanup(setattr, limits, "GRACE", limits.GRACE)
        self.addCleanup(setattr, lease, "RESERVE", lease.RESERVE)
        limits.GRACE, lease.RESERVE = 0.2, 1.0

    def lease(self, seconds, **options):
        self.out = tempfile.mkdtemp(prefix="out-", dir=self.work)
        made = lease.Lease(self.work, {}, self.out, self.work, seconds, **options)
        self.addCleanup(made.log.close)
        self.addCleanup(made.summary.close)
        self.addCleanup(made.results.file.close)
        return made

    def run_parts(self, seconds, *phases, only=(), **options):
        """Whether none failed, the outcome of each part, and what was printed."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            ok = self.lease(seconds, **options).run(list(phases), only)
        found = results.read(os.path.join(self.out, "results.jsonl"))
        return ok, {r["part"]: r["value"] for r in found if r["what"] == "outcome"}, said.getvalue()

    def shell(self, name, script, most=10.0, least=0.0):
        return Part(name, most, least, parts.command(lambda _: ["sh", "-c", script]))

    def script(self, name, text):
        """Puts a program where the archive's would be."""
        path = os.path.join(self.work, "bin", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)


class Leases(Case):
    def test_a_part_that_hangs_or_fails_costs_no_other(self):
        list_ = [self.shell("hangs", "sleep 60", most=0.3), self.shell("fails", "echo why; exit 3"), self.shell("works", "true")]
        ok, outcomes, said = self.run_parts(20, Phase(1, list_))
        self.assertFalse(ok)
        self.assertEqual(outcomes, {"hangs": "failed", "fails": "failed", "works": "ok"})
        self.assertRegex(said, r"hangs: FAILED, \d s: ended after 0 s\n")
        self.assertRegex(said, r"fails: FAILED, 0 s: status 3: why\n")
        self.assertRegex(said, r"1 ok, 2 failed\n")
        with open(os.path.join(self.out, "log.txt"), encoding="utf-8") as f:
            self.assertIn("== fails, 10 s at most\nwhy\n", f.read())

    def test_a_fault_of_a_part_itself(self):
        def broken(*_):
            raise KeyError("device_us")

        _, outcomes, said = self.run_parts(20, Phase(1, [Part("broken", 1, 0, broken), self.shell("works", "true")]))
        self.assertEqual(outcomes, {"broken": "failed", "works": "ok"})
        self.assertIn("KeyError: 'device_us'", said)

    def test_a_tool_that_is_not_there_is_no_failure(self):
        tool = Part("tool", 5, 0, parts.command(lambda _: ["no-such-tool"]))
        ok, outcomes, said = self.run_parts(20, Phase(1, [tool, self.shell("works", "true")]))
        self.assertTrue(ok)
        self.assertEqual(outcomes, {"tool": "absent", "works": "ok"})
        self.assertIn("no-such-tool is not on this machine", said)

    def test_what_there_is_no_time_for_is_left_out(self):
        ok, outcomes, said = self.run_parts(5, Phase(1, [self.shell("long", "true", most=60, least=20), self.shell("short", "true", least=0.1)]))
        self.assertTrue(ok)
        self.assertEqual(outcomes, {"long": "left out", "short": "ok"})
        self.assertRegex(said, r"long: left out, 0 s: it wants 20 s, 4 s are left for it\n")

    def test_parts_that_hang_leave_the_next_phase_its_time(self):
        began = time.monotonic()
        hang = [self.shell(f"hangs-{i}", "sleep 60", least=0.2) for i in range(9)]
        _, outcomes, said = self.run_parts(4, Phase(0.5, hang), Phase(1, [self.shell("next", "true", least=0.5)]))
        self.assertEqual(outcomes["hangs-0"], "failed")
        self.assertEqual(outcomes["hangs-8"], "left out")
        self.assertEqual(outcomes["next"], "ok")
        self.assertLess(time.monotonic() - began, 4)

    def test_the_whole_ends_in_time_when_everything_hangs(self):
        began = time.monotonic()
        stubborn = "trap '' TERM; while :; do sleep 1; done"  # a shell that ignores SIGTERM, and so do its children
        hang = [self.shell(f"hangs-{i}", stubborn, most=0.7, least=0.2) for i in range(9)]
        ok, outcomes, _ = self.run_parts(4, Phase(0.4, hang[:4]), Phase(1, hang[4:]))
        self.assertLess(time.monotonic() - began, 4)
        self.assertFalse(ok)
        self.assertEqual(outcomes["hangs-4"], "failed")
        self.assertEqual(outcomes["hangs-8"], "left out")

    def test_every_part_ends_at_its_limit_when_all_that_it_starts_hangs(self):
        for folder in ("bin", "tools", "engine/cuda/bench", *("engine/cuda" + p for p in ("/driver", "/nvml", "/kernels", "/blas"))):
            os.makedirs(os.path.join(self.work, folder), exist_ok=True)
        programs = ["bin/hatchery", "bin/bench", *(f"bin/{p}.test" for p in ("driver", "nvml", "blas", "kernels", "cuda", "bench"))]
        for name in [*programs, "tools/nvidia-smi", "tools/compute-sanitizer", "tools/ncu", "tools/python"]:
            path = os.path.join(self.work, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n")
            os.chmod(path, 0o755)
        python = os.path.join(self.work, "tools", "python")
        limits.GRACE = 0.02
        made = self.lease(1000)
        made.environment["PATH"] = os.path.join(self.work, "tools") + os.pathsep + os.environ["PATH"]
        made.peer = [python]
        all_parts = {p.name: p for phase in [*parts.FIRST, *parts.more([])] for p in phase.parts}
        self.assertGreater(len(all_parts), 30)
        with contextlib.redirect_stdout(io.StringIO()) as said, unittest.mock.patch.object(sys, "executable", python):
            for part in all_parts.values():
                began = time.monotonic()
                made.part(replace(part, most=0.05, least=0), 1000)
                took = time.monotonic() - began
                self.assertEqual(made.outcomes[part.name], "failed", part.name)
                self.assertGreaterEqual(took, 0.05, part.name)
                self.assertLess(took, 0.05 + 2 * limits.GRACE + 1, part.name)
        self.assertEqual(said.getvalue().count("FAILED"), len(all_parts))

    def test_the_time_that_unpacking_took_counts(self):
        _, outcomes, _ = self.run_parts(100, Phase(1, [self.shell("part", "true", least=5)]), began=lease.now() - 99)
        self.assertEqual(outcomes, {"part": "left out"})

    def test_only(self):
        first, second = Phase(0.5, [self.shell("start", "true")], always=True), Phase(1, [self.shell("a", "true"), self.shell("b", "true")])
        _, outcomes, _ = self.run_parts(20, first, second, only=["b"])
        self.assertEqual(outcomes, {"start": "ok", "b": "ok"})

    def test_what_runs_beside_is_ended_with_its_phase(self):
        mark = os.path.join(self.work, "mark")
        beside = lambda _: [[["sh", "-c", "exit 1"], ["sh", "-c", f"sleep 60; touch {mark}"]]]
        began = time.monotonic()
        _, outcomes, said = self.run_parts(5, Phase(0.3, [self.shell("a", "true")], beside=beside), Phase(1, [self.shell("b", "true")]))
        self.assertLess(time.monotonic() - began, 4)
        self.assertEqual(outcomes, {"a": "ok", "b": "ok"})
        self.assertIn("did NOT compile all graphs", said)

    def test_a_signal_ends_children_and_prints_the_table(self):
        for number in lease.SIGNALS:
            with self.subTest(signal=number.name):
                out = os.path.join(self.work, number.name)
                script = (
                    "import signal, sys; import lease, parts; signal.signal(signal.SIGHUP, signal.SIG_DFL); made = lease.Lease('.', {}, sys.argv[1], sys.argv[2], 60); "
                    "made.results.note('T32/hatchery', 'step_ms', 41.5, network='T32', program='hatchery', batch=1024); "
                    "hang = parts.Part('hangs', 50, 1, parts.command(lambda _: ['sh', '-c', 'echo $$ >' + sys.argv[1] + '/pid; sleep 60'])); "
                    "sys.exit(not made.run([parts.Phase(1, [hang])]))"
                )
                p = subprocess.Popen([sys.executable, "-c", script, out, self.work], cwd=HERE, stdout=subprocess.PIPE, text=True)
                pid = os.path.join(out, "pid")
                while not (os.path.exists(pid) and os.path.getsize(pid)):
                    self.assertIsNone(p.poll())
                    time.sleep(0.05)
                p.send_signal(number)
                said = p.communicate(timeout=20)[0]
                self.assertEqual(p.returncode, 1)
                self.assertIn(f"interrupted by {number.name}", said)
                self.assertRegex(said, r"T32 +hatchery +41\.50")
                with open(pid, encoding="utf-8") as f, self.assertRaises(ProcessLookupError):
                    os.kill(int(f.read()), 0)

    def test_cublas_that_hatchery_does_not_find(self):
        packages = os.path.join(self.work, "packages")
        os.makedirs(os.path.join(packages, "nvidia", "cu13", "lib"))
        found = 'if [ -n "$HATCHERY_CUBLAS" ]; then echo "cuBLAS  13.0, $HATCHERY_CUBLAS"; else echo "cuBLAS  missing: x"; fi'
        self.script("hatchery", 'echo "GPU 0   a card"; ' + found)
        self.script("uses", 'echo "with $HATCHERY_CUBLAS"')
        list_ = Phase(1, [Part("doctor", 10, 1, parts.doctor), Part("uses", 10, 1, parts.command(lambda l: [l.program("uses")]))])
        sys.path.append(packages)
        self.addCleanup(sys.path.remove, packages)
        os.environ.pop("HATCHERY_CUBLAS", None)
        _, outcomes, said = self.run_parts(20, list_)
        self.assertIn("cuBLAS WAS NOT FOUND by hatchery, and this Python has none either", said)
        library = os.path.join(packages, "nvidia", "cu13", "lib", "libcublasLt.so.13")
        open(library, "w", encoding="utf-8").close()
        _, outcomes, said = self.run_parts(20, list_)
        self.assertIn(f"cuBLAS WAS NOT FOUND by hatchery: it goes on with HATCHERY_CUBLAS={os.path.dirname(library)}", said)
        self.assertEqual(outcomes, {"doctor": "failed", "uses": "ok"})
        with open(os.path.join(self.out, "log.txt"), encoding="utf-8") as f:
            self.assertIn(f"with {os.path.dirname(library)}\n", f.read())

    def test_without_a_card_nothing_else_is_run(self):
        self.script("hatchery", 'echo "GPU         none: libcuda.so.1 is missing"; echo "cuBLAS      missing: x"')
        start = Phase(0.5, [Part("doctor", 10, 1, parts.doctor), self.shell("pytorch", "true")], always=True)
        ok, outcomes, said = self.run_parts(20, start, Phase(1, [self.shell("works", "true")]))
        self.assertFalse(ok)
        self.assertEqual(outcomes, {"doctor": "failed"})
        self.assertIn("NO GPU THAT HATCHERY CAN USE, so nothing else is run: hatchery doctor: GPU none: libcuda.so.1 is missing\n", said)

    def test_nothing_is_no_success(self):
        start = Phase(0.5, [self.shell("start", "true")], always=True)
        ok, outcomes, said = self.run_parts(5, start, Phase(1, [self.shell("long", "true", most=60, least=20)]))
        self.assertFalse(ok)
        self.assertEqual(outcomes, {"start": "ok", "long": "left out"})
        self.assertIn("1 ok, 1 left out; NOTHING WAS CHECKED OR MEASURED", said)

    def test_subtests_do_not_hide_other_tests(self):
        self.script("driver.test", 'for i in 1 2 3 4 5 6 7 8 9; do echo "    --- FAIL: TestA/$i"; done; echo "--- FAIL: TestA"; echo "--- FAIL: TestB"; exit 1')
        self.script("nvml.test", "echo no library >&2; exit 2")
        for p in ("driver", "nvml"):
            os.makedirs(os.path.join(self.work, "engine", "cuda", p))
        _, _, said = self.run_parts(20, Phase(1, [Part(p, 10, 1, parts.tests(p)) for p in ("driver", "nvml")]))
        self.assertRegex(said, r"s    --- FAIL: TestA\n.*s    --- FAIL: TestB\n.*s    --- FAIL: TestA/1\n")
        self.assertIn("... and 3 more in log.txt\n", said)
        self.assertIn("nvml: FAILED, 0 s: status 2: no library\n", said)

    def test_a_training_that_fails_says_why(self):
        self.script("hatchery", "echo many words >&2; echo 'hatchery: no such preset' >&2; exit 2")
        _, outcomes, said = self.run_parts(60, Phase(1, [Part("train", 30, 1, parts.train(long=False))]))
        self.assertEqual(outcomes, {"train": "failed"})
        self.assertIn("train: FAILED, 0 s: status 2: hatchery: no such preset\n", said)
        self.assertIn("no stage was over", said)

    def test_a_run_whose_results_lack_something(self):
        self.script("hatchery", """echo '{"kind":"result","method":"e2e","values":{}}'""")
        _, outcomes, said = self.run_parts(60, Phase(1, [Part("train", 30, 1, parts.train(long=False))]))
        self.assertEqual(outcomes, {"train": "failed"})
        self.assertIn("it reported no top-1 accuracy of e2e\n", said)
        self.assertRegex(said, "e2e +top-1 not reported, best not reported")

    def test_an_answer_of_an_unexpected_shape_costs_its_part(self):
        self.script("bench", """echo '{"ready": "a card"}'; while read line; do echo "$(cat answer)"; done""")
        for answer, line in (("null", "profile 3"), ("[1, 2]", "roof 8"), ('{"seconds": NaN}', "steps"), ('{"device_us": null}', "replay 1")):
            with open(os.path.join(self.work, "answer"), "w", encoding="utf-8") as f:
                f.write(answer)
            ok, outcomes, said = self.run_parts(30, Phase(1, [parts.measured(networks.T32, networks.HATCHERY, line), self.shell("next", "true")]))
            self.assertEqual((ok, outcomes), (False, {"T32/hatchery": "failed", "next": "ok"}))
            self.assertRegex(said, r"T32 +hatchery +failed: .*answer")
            self.assertEqual(len(results.read(os.path.join(self.work, "before.jsonl"))), len(results.read(os.path.join(self.out, "results.jsonl"))))

    def test_tests_that_match_nothing_have_not_passed(self):
        self.script("kernels.test", 'echo "testing: warning: no tests to run"; echo PASS')
        self.script("blas.test", 'echo "--- PASS: TestGemm (0.1s)"; echo PASS')
        self.script("driver.test", 'echo "    --- FAIL: TestDo/x (0.1s)"; echo FAIL; exit 1')
        for p in ("kernels", "blas", "driver"):
            os.makedirs(os.path.join(self.work, "engine", "cuda", p))
        _, outcomes, said = self.run_parts(20, Phase(1, [Part(p, 10, 1, parts.tests(p)) for p in ("kernels", "blas", "driver")]))
        self.assertEqual(outcomes, {"kernels": "failed", "blas": "ok", "driver": "failed"})
        self.assertIn("kernels: FAILED, 0 s: no such test ran", said)
        self.assertIn("  --- FAIL: TestDo/x (0.1s)\n", said)

    def test_what_a_program_answered_before_it_died_is_kept(self):
        self.script(
            "bench",
            """echo '{"ready": "a card"}'
            while read line; do
                [ "$line" != "profile 3" ] || { echo "out of memory" >&2; exit 2; }
                echo '{"seconds": 0.1}'
            done""",
        )
        part = parts.measured(networks.T32, networks.HATCHERY, "steps", "profile 3")
        ok, outcomes, said = self.run_parts(30, Phase(1, [part]))
        self.assertEqual(outcomes, {"T32/hatchery": "failed"})
        self.assertRegex(said, r"T32 +hatchery +\d+\.\d\d +37 .* then failed: ended with status 2: out of memory\n")


class Lists(unittest.TestCase):
    def test_limits_add_up(self):
        """Where nothing hangs beyond what makes a part worthwhile, everything up to training fits."""
        for minutes, phases in ((9.75, parts.FIRST), (4, parts.more([]))):
            seconds, clock = 60 * minutes - lease.RESERVE, 0.0
            for phase in phases[:-1]:
                clock += sum(p.least for p in phase.parts)
                self.assertLessEqual(clock, phase.until * seconds, [p.name for p in phase.parts])
            self.assertEqual(phases[-1].until, 1)
            self.assertEqual([p.until for p in phases], sorted(p.until for p in phases))
            for part in (p for phase in phases for p in phase.parts):
                self.assertLessEqual(part.least, part.most, part.name)

    def test_every_network_is_measured_beside_pytorch(self):
        names = [p.name for phase in parts.FIRST for p in phase.parts]
        self.assertEqual(len(names), len(set(names)))
        for n in networks.ALL:
            self.assertIn(f"{n.name}/{networks.HATCHERY}", names)
            for program in n.expected:
                self.assertIn(f"{n.name}/{program}", names)

    def test_more_makes_up_for_what_was_left_out(self):
        before = [{"part": "L/compiled", "what": "outcome", "value": "left out"}, {"part": "B/eager", "what": "outcome", "value": "ok"}]
        names = [p.name for phase in parts.more(before) for p in phase.parts]
        self.assertIn("L/compiled", names)
        self.assertNotIn("B/eager", names)

    def test_slowest_kernels(self):
        profile = [
            {"Kernel": "gelu_bf16", "Microseconds": 5}, {"Kernel": "adamw", "Microseconds": 1},
            {"Kernel": "16x48 nt bf16,bf16->bf16 bias", "Microseconds": 4}, {"Kernel": "16x16 nn bf16,bf16->bf16 none", "Microseconds": 4},
            {"Kernel": "residual_bf16", "Microseconds": 2},
        ]
        self.assertEqual(parts.slowest_kernels(profile), [parts.CUBLAS_KERNELS, "gelu_bf16", "residual_bf16"])


class CommandLine(unittest.TestCase):
    def refused(self, *arguments):
        done = subprocess.run([sys.executable, HERE, *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_an_unknown_part_is_named_with_the_list(self):
        with tempfile.NamedTemporaryFile() as archive, tempfile.TemporaryDirectory() as work:
            said = self.refused("run", "--archive", archive.name, "--only", "doctor,dcotor", "--work", work)
            self.assertRegex(said, r"--only dcotor: there is no such part; there are environment, doctor, .*T32/hatchery, .*train")

    def test_bad_input(self):
        with tempfile.TemporaryDirectory() as work:
            file = os.path.join(work, "x")
            with open(file, "w", encoding="utf-8") as f:
                f.write("nothing\n")
            self.assertRegex(self.refused("run", "--archive", "/nowhere/lease.tar.xz"), "/nowhere/lease.tar.xz: No such file")
            said = self.refused("run", "--archive", file, "--work", work, "--out", work)
            self.assertRegex(said, re.escape(file) + ": .*; make it with: .* pack FOLDER")
            for m in ("0", "nan", "x"):
                self.assertRegex(self.refused("run", "--archive", file, "--minutes=" + m), f"--minutes: {m}: want a number of minutes, 1 or more")
            self.assertRegex(self.refused("pack", work, "--limit", "nan"), "--limit: nan: want a number of MiB, 0 or more")
            self.assertRegex(self.refused("table", file), re.escape(file) + ": no line of it is a result")
            self.assertRegex(self.refused("table", "/nowhere/results.jsonl"), "/nowhere/results.jsonl: No such file")
