"""Writes posembed.json beside this file: position embeddings interpolated as
DeiT's main.py does.

Made with PyTorch 2.15.0:  python posembed.py
"""
import json, pathlib
import torch


def case(seed, width, old, new):
    g = torch.Generator().manual_seed(seed)
    embed = torch.randn(1, 1 + old * old, width, generator=g)  # float32; torch works in float64, so that its own rounding is no matter
    cls, tokens = embed.double()[:, :1], embed.double()[:, 1:]
    tokens = tokens.reshape(-1, old, old, width).permute(0, 3, 1, 2)
    tokens = torch.nn.functional.interpolate(tokens, size=(new, new), mode="bicubic", align_corners=False)
    out = torch.cat((cls, tokens.permute(0, 2, 3, 1).flatten(1, 2)), dim=1).float()
    short = lambda t: [float(str(x)) for x in t.flatten().numpy()]
    return {"width": width, "from": old, "to": new, "in": short(embed), "out": short(out)}


# 14 -> 24 is ViT-B at 384, 16 -> 28 ViT-H at 392; then smaller, and downwards.
cases = [case(1, 2, 14, 24), case(2, 1, 16, 28), case(3, 3, 4, 7), case(4, 2, 1, 3), case(5, 2, 9, 4)]
json.dump(cases, open(pathlib.Path(__file__).parent / "posembed.json", "w"), separators=(",", ":"))
