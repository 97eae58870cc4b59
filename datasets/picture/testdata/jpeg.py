"""Writes jpeg.json.gz: the JPEG files of the tests with PIL's pixels.

    python3 datasets/picture/testdata/jpeg.py   (needs Pillow)
"""
import base64
import gzip
import io
import json
import pathlib

import numpy as np
import PIL
from PIL import Image

rng = np.random.default_rng(5)
y, x, c = np.mgrid[0:53, 0:70, 0:4]
base = 128 + 70 * np.sin(x / (4 + 2 * c)) + 45 * np.cos(y / 6 - c) + rng.normal(0, 6, x.shape)
base = np.clip(base, 0, 255).astype(np.uint8)
rgb, grey, cmyk = Image.fromarray(base[..., :3]), Image.fromarray(base[..., 0]), Image.fromarray(base, mode="CMYK")
turned = Image.Exif()
turned[0x0112] = 6  # orientation: rotated, which loaders for training ignore

files = {}


def add(name, file):
    decoded = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    files[name] = {
        "File": base64.b64encode(file).decode(),
        "Picture": {"Width": decoded.shape[1], "Height": decoded.shape[0], "Channels": 3, "Pix": base64.b64encode(decoded.tobytes()).decode()},
    }


for name, picture, options in (
    ("4:2:0", rgb, dict(quality=85, subsampling=2)),
    ("4:2:2", rgb, dict(quality=75, subsampling=1)),
    ("4:4:4", rgb, dict(quality=95, subsampling=0)),
    ("progressive", rgb, dict(quality=80, progressive=True)),
    ("grey", grey, dict(quality=85)),
    ("cmyk", cmyk, dict(quality=85)),
    ("turned", rgb, dict(quality=85, exif=turned)),
    ("5x4", rgb.crop((0, 0, 5, 4)), dict(quality=85, subsampling=2)),
    ("4x5", rgb.crop((0, 0, 4, 5)), dict(quality=85, subsampling=2)),  # where chroma is two wide
    ("3x1", rgb.crop((0, 0, 3, 1)), dict(quality=85, subsampling=1)),
    ("1x1", rgb.crop((0, 0, 1, 1)), dict(quality=85, subsampling=2)),
):
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)
    add(name, out.getvalue())

# Pillow writes no 4:4:0. With sides and sampling exchanged in its header, a file
# of 4:2:2 is one, of a jumbled picture.
file = bytearray(base64.b64decode(files["4:2:2"]["File"]))
frame = file.index(b"\xff\xc0")
file[frame + 5 : frame + 9] = file[frame + 7 : frame + 9] + file[frame + 5 : frame + 7]
assert file[frame + 11] == 0x21
file[frame + 11] = 0x12
add("4:4:0", bytes(file))
path = pathlib.Path(__file__).parent / "jpeg.json.gz"
path.write_bytes(gzip.compress(json.dumps({"Versions": f"Pillow {PIL.__version__}", "Files": files}).encode(), 9, mtime=0))
print(path.stat().st_size, "bytes")
