"""Writes the JPEG files of the tests and jpeg.json.gz, what PIL makes of them.

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
turned[0x0112] = 6  # orientation: to be turned, which loaders for training do not do

files = {}
for name, picture, options in (
    ("4:2:0", rgb, dict(quality=85, subsampling=2)),
    ("4:2:2", rgb, dict(quality=75, subsampling=1)),
    ("4:4:4", rgb, dict(quality=95, subsampling=0)),
    ("progressive", rgb, dict(quality=80, progressive=True)),
    ("grey", grey, dict(quality=85)),
    ("cmyk", cmyk, dict(quality=85)),
    ("turned", rgb, dict(quality=85, exif=turned)),
):
    out = io.BytesIO()
    picture.save(out, "JPEG", **options)
    decoded = np.asarray(Image.open(io.BytesIO(out.getvalue())).convert("RGB"))
    files[name] = {
        "File": base64.b64encode(out.getvalue()).decode(),
        "Picture": {"Width": 70, "Height": 53, "Channels": 3, "Pix": base64.b64encode(decoded.tobytes()).decode()},
    }
path = pathlib.Path(__file__).parent / "jpeg.json.gz"
path.write_bytes(gzip.compress(json.dumps({"Versions": f"Pillow {PIL.__version__}", "Files": files}).encode(), 9, mtime=0))
print(path.stat().st_size, "bytes")
