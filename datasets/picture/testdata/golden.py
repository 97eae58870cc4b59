"""Writes golden.json.gz: results of PIL's and timm's functions for a few pictures.

    python3 datasets/picture/testdata/golden.py   (needs torch, timm and Pillow)

The pictures are made from images of Fashion-MNIST: coloured, laid over one another
on shaded backgrounds, with noise, so that they have edges, ramps and texture like
photographs. For changes that move no pixels, whose results must be equal, only the
SHA-256 of the result is written.
"""
import base64
import gzip
import hashlib
import json
import pathlib

import numpy as np
import PIL
import timm
from PIL import Image
from timm.data import auto_augment as aa

HERE = pathlib.Path(__file__).parent
FILL = (124, 116, 104)  # of ImageNet's mean
RESAMPLE = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def clothes():
    path = HERE / "../../fashion-mnist-5k/train-images-idx3-ubyte.gz"
    return np.frombuffer(gzip.open(path).read()[16:], np.uint8).reshape(-1, 28, 28)


def photo(width, height, seed, images):
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    canvas = np.stack([np.sin(x / draw.uniform(9, 30) + y / draw.uniform(9, 30)) * 60 + draw.uniform(80, 170) for _ in range(3)], -1)
    for _ in range(width * height // 400 + 1):
        garment = images[draw.integers(len(images))] / 255
        top, left = draw.integers(-14, height - 14), draw.integers(-14, width - 14)
        ys, xs = slice(max(0, top), min(height, top + 28)), slice(max(0, left), min(width, left + 28))
        mask = garment[ys.start - top : ys.stop - top, xs.start - left : xs.stop - left, None]
        colour = draw.uniform(0, 255, 3) * (0.4 + 0.6 * mask)
        canvas[ys, xs] = canvas[ys, xs] * (1 - mask) + colour * mask
    return np.clip(canvas + draw.normal(0, 4, canvas.shape), 0, 255).astype(np.uint8)


def packed(image):
    a = np.asarray(image)
    return {"Width": a.shape[1], "Height": a.shape[0], "Channels": 1 if a.ndim == 2 else 3, "Pix": base64.b64encode(a.tobytes()).decode()}


images = clothes()
pictures = {
    "photo": photo(43, 31, 1, images),
    "square": photo(32, 32, 2, images),
    "grey": images[7],
    "dull": (photo(32, 24, 3, images) // 4 + 100).astype(np.uint8),
    "flat": np.full((7, 9, 3), (200, 30, 90), np.uint8),
    "two": np.where(np.mgrid[0:8, 0:8][0][..., None] < 5, np.uint8((10, 20, 30)), np.uint8((250, 20, 31))),
    "line": photo(40, 2, 4, images),
}
pictures = {name: Image.fromarray(a) for name, a in pictures.items()}
cases = []


def add(picture, op, args, result, exact=False):
    case = {"Picture": picture, "Op": op, "Args": args}
    if exact:
        case["SHA256"] = hashlib.sha256(np.asarray(result).tobytes()).hexdigest()
    else:
        case["Result"] = packed(result)
    cases.append(case)


colour = [
    ("AutoContrast", aa.auto_contrast, [[]]),
    ("Equalize", aa.equalize, [[]]),
    ("Invert", aa.invert, [[]]),
    ("Posterize", aa.posterize, [[b] for b in range(1, 9)]),
    ("Solarize", aa.solarize, [[t] for t in (0, 1, 26, 128, 200, 256)]),
    ("SolarizeAdd", aa.solarize_add, [[a] for a in (0, 1, 55, 99, 110, 128)]),
]
factors = [[f] for f in (0.1, 0.19, 0.5, 0.734, 1.0, 1.05, 1.3, 1.81, 1.9)]
colour += [("Color", aa.color, factors), ("Contrast", aa.contrast, factors), ("Brightness", aa.brightness, factors), ("Sharpness", aa.sharpness, factors)]
for name, picture in pictures.items():
    for op, f, all_args in colour:
        for args in all_args:
            add(name, op, args, f(picture, *args), exact=True)

shares = [[s] for s in (-0.405, 0.4321, 0.1, -0.0123)]
geometry = [
    ("Rotate", aa.rotate, [[d] for d in (27.0, -26.3, 30.0, 3.3, -0.25, 0.0)]),
    ("ShearX", aa.shear_x, [[s] for s in (0.27, -0.2851, 0.031)]),
    ("ShearY", aa.shear_y, [[s] for s in (0.27, -0.2851, 0.031)]),
    ("TranslateXRel", aa.translate_x_rel, shares),
    ("TranslateYRel", aa.translate_y_rel, shares),
]
for name in ("photo", "square", "grey"):
    for op, f, all_args in geometry:
        for args in all_args:
            fill = FILL if name != "grey" else FILL[0]
            add(name, op, args, f(pictures[name], *args, resample=RESAMPLE["bicubic"], fillcolor=fill))
matrix = [0.9, 0.2, -3.0, -0.1, 1.1, 1.5]
for name, filter in (("photo", "bilinear"), ("photo", "bicubic"), ("grey", "bilinear")):
    p = pictures[name]
    fill = FILL if name != "grey" else FILL[0]
    add(name, "Affine " + filter, matrix, p.transform(p.size, Image.Transform.AFFINE, matrix, RESAMPLE[filter], fillcolor=fill))

whole = [0, 0, 43, 31]
for filter in RESAMPLE:
    for width, height, box in (
        (20, 14, whole),
        (60, 50, whole),
        (43, 20, whole),
        (17, 31, whole),
        (43, 31, whole),
        (1, 1, whole),
        (32, 32, [5, 3, 35, 27]),
        (8, 40, [0, 11, 43, 13]),
        (24, 24, [1.25, 0.5, 40.75, 29.3]),
        (31, 31, [12, 0, 43, 31]),
    ):
        add("photo", "Resize " + filter, [width, height] + box, pictures["photo"].resize((width, height), RESAMPLE[filter], box=box))
    for width, height in ((12, 12), (40, 33)):
        add("grey", "Resize " + filter, [width, height, 0, 0, 28, 28], pictures["grey"].resize((width, height), RESAMPLE[filter]))

golden = {
    "Versions": f"Pillow {PIL.__version__}, timm {timm.__version__}",
    "Pictures": {name: packed(p) for name, p in pictures.items()},
    "Cases": cases,
}
text = json.dumps(golden, indent=0).encode()
(HERE / "golden.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
print(len(cases), "cases,", (HERE / "golden.json.gz").stat().st_size, "bytes")
