"""Writes pictures of every kind with the result of PIL's convert("RGB"), for
TestDecodeIsPILs: python pictures.py > pictures.json (Pillow 10 or later)."""

import base64, io, json

import numpy as np
from PIL import Image

rng = np.random.default_rng(1)
h, w = 21, 34
y, x = np.mgrid[0:h, 0:w]
smooth = np.stack([128 + 100 * np.sin(x / 6 + c) * np.cos(y / (5 + c)) for c in range(4)], -1).astype(np.uint8)
noise = rng.integers(0, 256, (h, w, 4), dtype=np.uint8)

cases = []


def add(name, image, **options):
    b = io.BytesIO()
    image.save(b, name.split()[0], **options)
    b.seek(0)
    rgb = Image.open(b).convert("RGB")
    cases.append(dict(
        name=name, file=base64.b64encode(b.getvalue()).decode(), width=rgb.width, height=rgb.height,
        rgb=base64.b64encode(rgb.tobytes()).decode()))


rgb, rgba = Image.fromarray(noise[..., :3]), Image.fromarray(noise)
grey = Image.fromarray(noise[..., 0])
add("PNG RGB", rgb)
add("PNG RGB, one colour transparent", rgb, transparency=tuple(int(v) for v in noise[0, 0, :3]))
add("PNG RGBA", rgba)
add("PNG grey", grey)
add("PNG grey, one value transparent", grey, transparency=int(noise[0, 0, 0]))
add("PNG grey and alpha", Image.merge("LA", (grey, Image.fromarray(noise[..., 1]))))
add("PNG palette", rgb.quantize(40))
add("PNG palette with alpha", rgba.quantize(40, method=2))
add("PNG one bit", grey.convert("1"))
add("PNG interlaced size 1", rgb.crop((0, 0, 1, 1)))
add("JPEG grey", Image.fromarray(smooth[..., 0]), quality=95)
add("JPEG 4:4:4", Image.fromarray(smooth[..., :3]), quality=95, subsampling=0)
add("JPEG progressive", Image.fromarray(smooth[..., :3]), quality=95, subsampling=0, progressive=True)
add("JPEG CMYK", Image.fromarray(smooth, "CMYK"), quality=95)
exif = Image.Exif()
exif[0x0112] = 6  # to be turned by 90 degrees, which is ignored
add("JPEG turned", Image.fromarray(smooth[..., :3]), quality=95, subsampling=0, exif=exif)

print(json.dumps(cases, indent=0))
