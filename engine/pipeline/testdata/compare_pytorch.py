"""Training and evaluation steps of DeiT-Tiny beside PyTorch's, on the CPU.

    python3 engine/pipeline/testdata/compare_pytorch.py [--rounds 5] [--depths 12,32] [--threads 1,2]

Both do whole steps of timm's DeiT-Tiny at 32x32 with 4x4 patches, batch 64,
float32, AdamW, on the same number of threads. Each round runs PyTorch, then
hatchery, so that a change of the machine's speed meets both; what is printed is
the median over rounds of the ratio of images a second, and the peak memory of
either process. Needs Go, and Python with torch and timm.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

BATCH = 64
STEPS = 4


def torch_worker(depth, threads, mode):
    import time

    import timm
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4, depth=depth, num_classes=100)
    images, targets = torch.randn(BATCH, 3, 32, 32), torch.eye(100)[:BATCH]
    if mode == "train":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
        model.train()

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = torch.sum(-targets * torch.log_softmax(model(images), -1), -1).mean()
            loss.backward()
            optimizer.step()
    else:
        model.eval()

        def step():
            with torch.inference_mode():
                model(images)

    step()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    seconds = time.perf_counter() - start
    print(BATCH * STEPS / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def pytorch(depth, threads, mode):
    out = subprocess.run([sys.executable, __file__, "--worker", f"{depth},{threads},{mode}"], check=True,
                         capture_output=True, text=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
    speed, memory = out.stdout.split()
    return float(speed), int(memory)


def hatchery(binary, depth, threads, mode):
    name = {"train": "TrainingStep", "eval": "Evaluation"}[mode]
    with subprocess.Popen([binary, "-test.run", "^$", "-test.bench", f"^Benchmark{name}$/^depth={depth}$/^threads={threads}$",
                           "-test.benchtime", f"{STEPS}x"], stdout=subprocess.PIPE, text=True) as process:
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(out)
    return float(re.search(r"([\d.]+) images/s", out)[1]), usage.ru_maxrss


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--depths", default="12,32")
    args.add_argument("--threads", default="1,2")
    args.add_argument("--worker")
    args = args.parse_args()
    if args.worker:
        depth, threads, mode = args.worker.split(",")
        return torch_worker(int(depth), int(threads), mode)

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with tempfile.TemporaryDirectory() as folder:
        binary = os.path.join(folder, "pipeline.test")
        subprocess.run(["go", "test", "-c", "-o", binary, "."], cwd=package, check=True)
        print(f"{'':24}{'PyTorch':>12}{'hatchery':>12}{'ratio':>8}{'PyTorch':>12}{'hatchery':>12}{'ratio':>8}")
        print(f"{'':24}{'images/s':>12}{'images/s':>12}{'median':>8}{'peak MiB':>12}{'peak MiB':>12}")
        for mode in ("train", "eval"):
            for depth in map(int, args.depths.split(",")):
                for threads in map(int, args.threads.split(",")):
                    theirs, ours = [], []
                    for _ in range(args.rounds):
                        theirs.append(pytorch(depth, threads, mode))
                        ours.append(hatchery(binary, depth, threads, mode))
                    ratio = statistics.median(o[0] / t[0] for o, t in zip(ours, theirs))
                    speed = [statistics.median(x[0] for x in side) for side in (theirs, ours)]
                    memory = [statistics.median(x[1] for x in side) / 1024 for side in (theirs, ours)]
                    print(f"{mode:6}depth {depth:3} threads {threads:2}{speed[0]:12.1f}{speed[1]:12.1f}{ratio:8.2f}"
                          f"{memory[0]:12.0f}{memory[1]:12.0f}{memory[1] / memory[0]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
