#!/usr/bin/env python3
"""Compares the speed of our loader with PyTorch's DataLoader with timm's transforms.

From the repository's root: python3 datasets/bench/pytorch.py [rounds [workers]]

Both apply DeiT's whole augmentation to the same images: 5,120 of CIFAR's size in
memory, with a padded crop, and 192 JPEG files of about 500x375, with a resized crop to
224. Both have the same number of workers (by default one per core), prepare two batches
ahead, and produce normalised float32 batches and soft targets. After one epoch to warm
up, each round times one epoch of each, in alternating order. The program prints medians
in images per second and the median of the rounds' ratios, ours over PyTorch's: above 1,
ours is faster. The Go program is built without libturbojpeg and, if possible, with it.
Needs torch, torchvision and timm.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from PIL import Image
from timm.data import Mixup
from timm.data import auto_augment as aa
from timm.data.random_erasing import RandomErasing
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import InterpolationMode

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR, JPEGS = 5_120, 192

# Pillow rejects 0 bits, which timm sometimes passes.
aa.NAME_TO_OP["PosterizeIncreasing"] = lambda img, bits, **_: aa.posterize(img, max(1, bits))


def pixels(draw, width, height):
    """Ramps, waves and noise, which JPEG at quality 90 compresses like photographs."""
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    waves = sum(draw.uniform(5, 40) * np.sin(x * draw.uniform(-0.3, 0.3) + y * draw.uniform(-0.3, 0.3) + c) for _ in range(5))
    noise = draw.normal(0, 8, (height, width, 1))
    return np.clip(128 + waves + noise + 40 * (x / width - y / height), 0, 255).astype(np.uint8)


class Images(Dataset):
    def __init__(self, data, labels, change):
        self.data, self.labels, self.change = data, labels, change

    def __len__(self):
        return len(self.data)

    def __getitem__(self, i):
        item = self.data[i]
        if isinstance(item, str):
            with open(item, "rb") as f:
                picture = Image.open(f).convert("RGB")
        else:
            picture = Image.fromarray(item)
        return self.change(picture), self.labels[i]


def change(size, crop):
    augment = aa.rand_augment_transform(
        "rand-m9-mstd0.5-inc1",
        dict(translate_const=int(size * 0.45), img_mean=tuple(round(255 * m) for m in MEAN), interpolation=Image.Resampling.BICUBIC),
    )
    return transforms.Compose(
        [
            crop,
            transforms.RandomHorizontalFlip(),
            augment,
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
            RandomErasing(0.25, mode="pixel", max_count=1, num_splits=0, device="cpu"),
        ]
    )


def first_worker_thread(_):
    torch.set_num_threads(1)


def theirs(data, labels, classes, size, crop, batch, workers):
    loader = DataLoader(
        Images(data, labels, change(size, crop)),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        prefetch_factor=2,
        persistent_workers=True,
        worker_init_fn=first_worker_thread,
    )
    mix = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, mode="batch", label_smoothing=0.1, num_classes=classes)

    def epoch():
        images = 0
        start = time.perf_counter()
        for x, y in loader:
            x, y = mix(x, y)
            images += len(x)
        return images / (time.perf_counter() - start)

    return epoch


def ours(binary, kind, path, size, batch, workers):
    process = subprocess.Popen(
        [binary, kind, path, str(size), str(batch), str(workers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ, GOMAXPROCS=str(workers)),
    )

    def epoch():
        process.stdin.write("\n")
        process.stdin.flush()
        images, seconds = process.stdout.readline().split()
        return int(images) / float(seconds)

    return epoch, process


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count()
    torch.set_num_threads(1)
    root = pathlib.Path(__file__).resolve().parents[2]
    draw = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        binaries = {}
        for name, tags in (("Go's JPEG decoder", ""), ("libturbojpeg", "turbojpeg")):
            binary = str(folder / name)
            if subprocess.run(["go", "build", "-tags", tags, "-o", binary, "./datasets/bench"], cwd=root).returncode == 0:
                binaries[name] = binary

        small = np.stack([pixels(draw, 32, 32) for _ in range(200)])[np.arange(CIFAR) % 200]
        (folder / "cifar").write_bytes(small.transpose(0, 3, 1, 2).tobytes())
        files, labels = [], []
        for i in range(JPEGS):
            for split in ("train", "val")[: 2 if i < 10 else 1]:
                path = folder / "jpeg" / split / f"class{i % 10}" / f"{i}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                width, height = int(draw.integers(440, 560)), int(draw.integers(330, 420))
                Image.fromarray(pixels(draw, width, height)).save(path, quality=90)
            files.append(str(folder / "jpeg" / "train" / f"class{i % 10}" / f"{i}.jpg"))
            labels.append(i % 10)

        scale = transforms.RandomResizedCrop(224, scale=(0.08, 1.0), interpolation=InterpolationMode.BICUBIC)
        cases = [("CIFAR", "cifar", 32, 256, transforms.RandomCrop(32, padding=4), small, [i % 100 for i in range(CIFAR)], 100)]
        cases += [("JPEG, " + name, "jpeg", 224, 64, scale, files, labels, 10) for name in binaries]
        print(f"{workers} workers, {rounds} rounds, load {os.getloadavg()[0]:.1f} at the start")
        print(f"{'images':24} {'ours':>9} {'PyTorch':>9} {'ratio':>6}")
        for name, path, size, batch, crop, data, marks, classes in cases:
            binary = binaries["libturbojpeg" if name.endswith("libturbojpeg") else "Go's JPEG decoder"]
            a, process = ours(binary, "cifar" if path == "cifar" else "folder", str(folder / path), size, batch, workers)
            b = theirs(data, marks, classes, size, crop, batch, workers)
            a(), b()
            speeds = []
            for i in range(rounds):
                if i % 2:
                    x, y = a(), b()
                else:
                    y = b()
                    x = a()
                speeds.append((x, y))
            x, y = (statistics.median(s) for s in zip(*speeds))
            ratio = statistics.median(x / y for x, y in speeds)
            print(f"{name:24} {x:9.0f} {y:9.0f} {ratio:6.2f}", flush=True)
            process.kill()  # closing its input would not end it: PyTorch's workers inherited the pipe
            process.wait()


if __name__ == "__main__":
    main()
