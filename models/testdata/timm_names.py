#!/usr/bin/env python3
"""Writes timm_names.json: the names and shapes of timm's parameters, in order.

    python timm_names.py > timm_names.json

Made with timm 1.0.31.
"""
import json

from timm.models.vision_transformer import VisionTransformer


def fields(image, patch, width, depth, heads, qkv_bias, classes):
    return dict(Image=image, Channels=3, Patch=patch, Width=width, Depth=depth, Heads=heads,
                MLPRatio=4.0, QKVBias=qkv_bias, NormEps=1e-6, Classes=classes)


models = {
    "vit_tiny on CIFAR-100, depth 4": fields(32, 4, 192, 4, 3, True, 100),
    "vit_base_patch16_224": fields(224, 16, 768, 12, 12, True, 1000),
    "vit_huge without qkv bias, depth 2": fields(224, 14, 1280, 2, 16, False, 1000),
}
out = []
for name, f in models.items():
    m = VisionTransformer(img_size=f["Image"], patch_size=f["Patch"], embed_dim=f["Width"], depth=f["Depth"],
                          num_heads=f["Heads"], qkv_bias=f["QKVBias"], num_classes=f["Classes"])
    no_decay = m.no_weight_decay()
    out.append(dict(
        Name=name, ViT=f, Count=sum(p.numel() for p in m.parameters()),
        Params=[dict(Name=n, Shape=list(p.shape), Decay=p.ndim > 1 and n not in no_decay)
                for n, p in m.named_parameters()]))

print("[")
for i, m in enumerate(out):
    params = m.pop("Params")
    print(json.dumps(m)[:-1] + ', "Params": [')
    print(",\n".join("  " + json.dumps(p) for p in params))
    print("]}" + ("," if i + 1 < len(out) else ""))
print("]")
