"""Writes forms.json.gz: JPEG files of forms that some decoders do not read, with PIL's
pixels for those that it reads.

    python3 datasets/picture/testdata/forms.py CJPEG

needs Pillow, imagecodecs (whose libjpeg-turbo 3 writes 12 bits and lossless files) and
libjpeg-turbo's cjpeg.
"""
import base64
import gzip
import io
import json
import pathlib
import subprocess
import sys

import imagecodecs
import numpy as np
import PIL
from PIL import Image

rng = np.random.default_rng(5)
y, x, c = np.mgrid[0:21, 0:34, 0:4]
base = 128 + 70 * np.sin(x / (4 + 2 * c)) + 45 * np.cos(y / 6 - c) + rng.normal(0, 6, x.shape)
base = np.clip(base, 0, 255).astype(np.uint8)
ppm = io.BytesIO()
Image.fromarray(base[..., :3]).save(ppm, "PPM")

files = {}


def add(name, form, file):
    try:
        decoded = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        picture = {"Width": decoded.shape[1], "Height": decoded.shape[0], "Channels": 3,
                   "Pix": base64.b64encode(decoded.tobytes()).decode()}
    except (OSError, SyntaxError):
        picture = None
    files[name] = {"File": base64.b64encode(file).decode(), "Form": form, "Picture": picture}
    print(f"{name}: {len(file)} bytes, PIL reads it: {picture is not None}")


def cjpeg(name, form, *options):
    add(name, form, subprocess.run([sys.argv[1], *options], input=ppm.getvalue(), stdout=subprocess.PIPE, check=True).stdout)


cjpeg("arithmetic", "arithmetic coding", "-arithmetic")
cjpeg("arithmetic, progressive", "arithmetic coding", "-arithmetic", "-progressive")
cjpeg("progressive with restarts", "progressive, with restart markers", "-progressive", "-restart", "1B")
for sampling in "3x1", "1x4", "2x3", "2x2,2x1,1x2", "1x1,2x2,2x2":
    factors = (sampling.split(",") + ["1x1", "1x1"])[:3]
    cjpeg("sampled " + sampling, "channels sampled " + ", ".join(factors), "-sample", sampling)
cmyk = io.BytesIO()
Image.fromarray(base, mode="CMYK").save(cmyk, "JPEG")
plain = cmyk.getvalue()
adobe = plain.index(b"\xff\xee")
assert plain[adobe + 4 : adobe + 9] == b"Adobe"
add("CMYK without Adobe", "CMYK without Adobe's marker", plain[:adobe] + plain[adobe + 2 + int.from_bytes(plain[adobe + 2 : adobe + 4]) :])
add("12 bits", "12 bits per channel", imagecodecs.jpeg8_encode(base[..., :3].astype(np.uint16) * 16, bitspersample=12))
add("lossless", "lossless coding", imagecodecs.jpeg8_encode(np.ascontiguousarray(base[..., :3]), lossless=True))
# Two channels: a file of one, coded twice.
grey = io.BytesIO()
Image.fromarray(base[..., 0]).save(grey, "JPEG")
grey = grey.getvalue()
frame = grey.index(b"\xff\xc0")
scan = grey.index(b"\xff\xda")
two = (grey[:frame] + b"\xff\xc0\x00\x0e" + grey[frame + 4 : frame + 9] + b"\x02\x01\x11\x00\x02\x11\x00"
       + grey[frame + 13 : -2] + grey[scan : scan + 5] + b"\x02" + grey[scan + 6 :])
add("two channels", "2 channels", two)
# Go's decoder reads these too.
cjpeg("restarts", "", "-restart", "1B")
cjpeg("progressive", "", "-progressive")

path = pathlib.Path(__file__).parent / "forms.json.gz"
versions = f"Pillow {PIL.__version__}, imagecodecs {imagecodecs.__version__}"
path.write_bytes(gzip.compress(json.dumps({"Versions": versions, "Files": files}).encode(), 9, mtime=0))
print(path.stat().st_size, "bytes")
