"""Compares hatchery's training step with PyTorch's on this machine's GPU.

    go build -tags gpu -o bench ./engine/cuda/bench
    python3 engine/cuda/bench/compare.py --hatchery ./bench

needs PyTorch 2 and timm, and ten minutes of a GPU that nobody else uses. Every
network is trained by hatchery and by PyTorch, eager and compiled, which take
turns, so that a clock that changes hits all of them; a figure is the median of
the rounds. Bars for compiled PyTorch are for the fastest of its modes. What it
prints is for RESULTS.md in the folder above; --out keeps all that was measured.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))

# Networks and batches, and the bar of each ratio.
CASES = {
    "DeiT-T-32": (dict(image=32, patch=4, width=192, depth=32, heads=3, classes=100, batch=1024), 2.0, 1.3),
    "ViT-B/16 224": (dict(image=224, patch=16, width=768, depth=12, heads=12, classes=1000, batch=256), None, 1.1),
    "ViT-L/16 224": (dict(image=224, patch=16, width=1024, depth=24, heads=16, classes=1000, batch=128), None, 1.1),
    # Last: torch.compile takes minutes for it.
    "DeiT-T-128": (dict(image=32, patch=4, width=192, depth=128, heads=3, classes=100, batch=1024), 2.0, 1.3),
    # Small enough for any processor: a test of this script with --device cpu.
    "tiny": (dict(image=8, patch=4, width=16, depth=1, heads=2, classes=10, batch=4), None, None),
}


class Server:
    """A program that answers lines."""

    def __init__(self, command):
        self.command = command
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except OSError as e:
            raise RuntimeError(f"{command[0]}: {e}") from e

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has ended; read says how
        return self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.command)} ended with status {self.process.wait()}")
        return json.loads(line)

    def close(self):
        try:
            self.process.stdin.close()
        except OSError:
            pass
        self.process.wait()


def flags(case):
    return [x for k, v in case.items() for x in (f"-{k}", str(v))]


def programs(case, options):
    """The command of every program that takes turns."""
    network = [*flags(case), "-drop-path", "0.1"]
    commands = {}
    if options.hatchery:
        micro = ["-micro", str(options.micro)] if options.micro else []
        commands["hatchery"] = [options.hatchery, *network, *micro]
    if not options.alone:
        peer = [sys.executable, os.path.join(HERE, "pytorch.py"), *network, "--device", options.device]
        commands["eager"] = peer
        for mode in options.modes:
            commands["compile " + mode] = [*peer, "--compile", mode]
    return commands


def measure(name, options):
    case, _, _ = CASES[name]
    result = {"case": case, "programs": {}, "failed": {}, "rates": {}}
    servers, counts = {}, {}
    try:
        for k, command in programs(case, options).items():
            try:
                servers[k] = s = Server(command)
                result["programs"][k] = s.read()
                s.ask("steps 3")
                took = s.ask("steps 3")["seconds"] / 3
                counts[k] = max(3, round(options.seconds / took))
                result["rates"][k] = []
            except RuntimeError as e:  # one less; the others are still worth measuring
                result["failed"][k] = str(e)
                if k in servers:
                    servers.pop(k).close()
        for _ in range(options.rounds):
            for k, s in servers.items():
                result["rates"][k].append(case["batch"] * counts[k] / s.ask(f"steps {counts[k]}")["seconds"])
        if "hatchery" in servers:
            n = max(3, counts["hatchery"] // 2)
            result["replay"] = servers["hatchery"].ask(f"replay {n}")
            result["profile"] = servers["hatchery"].ask("profile 3")
            result["choices"] = servers["hatchery"].ask("choices 5")
    finally:
        for s in servers.values():
            s.close()
    return result


def report(name, r):
    rates = {k: statistics.median(v) for k, v in r["rates"].items()}
    _, eager, compiled = CASES[name]
    print(f"\n### {name}, batch {r['case']['batch']}\n")
    for k, v in rates.items():
        spread = (max(r["rates"][k]) - min(r["rates"][k])) / v
        said = r["programs"][k]
        print(f"- {k}: {v:.0f} images/s (spread {100 * spread:.1f} %; {'; '.join([said['ready'], *(said.get('remarks') or [])])})")
    for k, why in r["failed"].items():
        print(f"- {k}: {why}")
    if "hatchery" in rates:
        fastest = max((k for k in rates if k.startswith("compile")), key=rates.get, default=None)
        for k, bar in (("eager", eager), (fastest, compiled)):
            if k in rates:
                print(f"- ratio to {k}: {rates['hatchery'] / rates[k]:.2f}" + (f" (bar {bar})" if bar else ""))
        step = 1e6 * r["case"]["batch"] / rates["hatchery"]
        device = r["replay"]["device_us"]
        print(f"- a step takes {step:.0f} us, the device alone {device:.0f} us: idle {100 * max(0, 1 - device / step):.1f} %")
        print(f"- the host launches a step in {r['replay']['host_us']:.0f} us")


def roofline(r, roof):
    """Where the time goes, kind by kind, beside what its bytes and products would take at the roof."""
    total = sum(k["Microseconds"] for k in r["profile"])
    least = 0.0
    print("\n| operation | kernel | times | us | share | roof us | of roof |\n|---|---|---|---|---|---|---|")
    for k in sorted(r["profile"], key=lambda k: -k["Microseconds"]):
        at_best = 1e6 * max(k["Bytes"] / roof["copy"], k["FLOPs"] / roof["product"])
        least += at_best
        us = max(k["Microseconds"], 1e-9)
        print(f"| {k['Name']} | {k['Kernel']} | {k['Count']} | {us:.0f} | {100 * us / total:.1f} % | {at_best:.0f} | {100 * at_best / us:.0f} % |")
    print(f"\nOne after another: {total:.0f} us; at the roof {least:.0f} us, {100 * least / total:.0f} %.")


def choices(r):
    """What there is to gain where cublasLt's heuristic does not name the fastest kernel first."""
    first = sum(c["Count"] * c["Microseconds"][0] for c in r["choices"])
    best = sum(c["Count"] * min(c["Microseconds"]) for c in r["choices"])
    print(f"\nProducts take {first:.0f} us with cublasLt's first kernels, {best:.0f} us with the fastest:\n")
    print("| product | times | first, us | fastest, us | its number |\n|---|---|---|---|---|")
    for c in r["choices"]:
        times = c["Microseconds"]
        fastest = min(times)
        print(f"| {c['Product']} | {c['Count']} | {times[0]:.1f} | {fastest:.1f} | {times.index(fastest) + 1} of {len(times)} |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--hatchery", help="the bench program; without it only PyTorch is measured")
    p.add_argument("--alone", action="store_true", help="without PyTorch")
    p.add_argument("--cases", nargs="*", default=[c for c in CASES if c != "tiny"], choices=list(CASES))
    p.add_argument("--modes", nargs="*", default=["default"], help="of torch.compile; max-autotune takes it minutes more")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0, help="of each program in a round")
    p.add_argument("--micro", type=int, default=0, help="images of a pass of hatchery; 0: the batch")
    p.add_argument("--roof", type=int, default=8192, help="side of the matrices whose product is the roof; a copy of 64 times its square in bytes is the other")
    p.add_argument("--device", default="cuda", help="of PyTorch")
    p.add_argument("--out", help="a file for everything measured, as JSON")
    options = p.parse_args()
    everything = {"when": time.strftime("%Y-%m-%d %H:%M"), "command": sys.argv}
    if options.device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,clocks.sm,power.draw", "--format=csv,noheader"]
        everything["card"] = subprocess.run(query, capture_output=True, text=True).stdout.strip()
        print(everything["card"])
    if options.hatchery:
        s = Server([options.hatchery, *flags(CASES["tiny"][0])])
        s.read()
        roof = everything["roof"] = s.ask(f"roof {options.roof}")
        s.close()
        print(f"copy {roof['copy'] / 1e12:.2f} TB/s, product {roof['product'] / 1e12:.0f} TFLOP/s")
    for name in options.cases:
        r = everything[name] = measure(name, options)
        report(name, r)
        if "profile" in r:
            roofline(r, roof)
            choices(r)
        sys.stdout.flush()
        if options.out:
            with open(options.out + ".new", "w") as f:
                json.dump(everything, f, indent=1)
            os.replace(options.out + ".new", options.out)


if __name__ == "__main__":
    main()
