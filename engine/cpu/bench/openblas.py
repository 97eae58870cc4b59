#!/usr/bin/env python3
"""Compares our matrix product with numpy's OpenBLAS on one thread.

From the repository's root: python3 engine/cpu/bench/openblas.py [rounds]

Each round times one product of ours and one of OpenBLAS, in alternating order. The
program prints medians in GFLOP/s and the median of the rounds' ratios, ours over
OpenBLAS: above 1, ours is faster. The shapes are those of a training step of
DeiT-Tiny on 32x32 images with patches of 4 and 64 images a batch.
Takes about 10 s for 40 rounds on a quiet machine.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

# Some systems preset these, which makes OpenBLAS choose kernels for another CPU.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np  # noqa: E402

SHAPES = [  # name, m, n, k, A transposed, B transposed, products
    ("qkv", 4160, 576, 192, 0, 0, 1),
    ("proj", 4160, 192, 192, 0, 0, 1),
    ("fc1", 4160, 768, 192, 0, 0, 1),
    ("fc2", 4160, 192, 768, 0, 0, 1),
    ("qkv dx", 4160, 192, 576, 0, 1, 1),
    ("fc1 dx", 4160, 192, 768, 0, 1, 1),
    ("fc2 dx", 4160, 768, 192, 0, 1, 1),
    ("qkv x w'", 4160, 576, 192, 0, 1, 1),  # as PyTorch stores weights
    ("qkv dy' x", 576, 192, 4160, 1, 0, 1),
    ("qkv dw", 192, 576, 4160, 1, 0, 1),
    ("proj dw", 192, 192, 4160, 1, 0, 1),
    ("fc1 dw", 192, 768, 4160, 1, 0, 1),
    ("fc2 dw", 768, 192, 4160, 1, 0, 1),
    ("attention q k'", 65, 65, 64, 0, 1, 192),
    ("attention p v", 65, 64, 65, 0, 0, 192),
    ("attention p' dy", 65, 64, 65, 1, 0, 192),
    ("1024^3", 1024, 1024, 1024, 0, 0, 1),
]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    root = pathlib.Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory() as folder:
        binary = os.path.join(folder, "bench")
        subprocess.run(["go", "build", "-o", binary, "./engine/cpu/bench"], cwd=root, check=True)
        ours = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(line):
            ours.stdin.write(line + "\n")
            ours.stdin.flush()
            return ours.stdout.readline().strip()

        ratios = []
        print(f"{'product':16} {'m n k':>16} {'ours':>7} {'blas':>7} {'ratio':>6}")
        for name, m, n, k, ta, tb, batch in SHAPES:
            assert ask(f"{m} {n} {k} {ta} {tb} {batch}") == "ready"
            draw = np.random.default_rng(1).standard_normal
            a = draw((batch, k, m) if ta else (batch, m, k), dtype=np.float32)
            b = draw((batch, n, k) if tb else (batch, k, n), dtype=np.float32)
            a, b = a.transpose(0, 2, 1) if ta else a, b.transpose(0, 2, 1) if tb else b
            if batch == 1:
                a, b = a[0], b[0]
            c = np.empty((*a.shape[:-1], n), dtype=np.float32)

            def blas():
                start = time.perf_counter()
                np.matmul(a, b, out=c)
                return time.perf_counter() - start

            times = []
            for i in range(rounds + 3):
                if i % 2:
                    x, y = float(ask("")), blas()
                else:
                    y = blas()
                    x = float(ask(""))
                times.append((x, y))
            times = times[3:]  # the first rounds warm up
            work = 2 * m * n * k * batch / 1e9
            ratio = statistics.median(y / x for x, y in times)
            ratios.append(ratio)
            x, y = (statistics.median(t) for t in zip(*times))
            print(f"{name:16} {m:5} {n:5} {k:4} {work / x:7.0f} {work / y:7.0f} {ratio:6.2f}", flush=True)
        print(f"ratio: median {statistics.median(ratios):.2f}, least {min(ratios):.2f}")
        ours.stdin.close()
        ours.wait()


if __name__ == "__main__":
    main()
