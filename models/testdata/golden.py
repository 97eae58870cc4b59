#!/usr/bin/env python3
"""Writes golden.json: logits, loss and gradients of timm's VisionTransformer
in float64, which hatchery's networks must give too.

    python golden.py > golden.json

Nothing that goes in is stored: every input is a function of its name that
golden_test.go computes too, and is exact in float32. Of each gradient there
is its norm, its product with a fixed vector, and all of its elements or a
sample. Made with timm 1.0.31 and torch 2.15, on a CPU.
"""
import json

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

BATCH = 4
KEEP = 0.8  # drop path multiplies a branch by 0 or by 1/KEEP
FULL = 192  # gradients of up to so many elements are stored whole
SAMPLE = 64  # of larger ones, so many elements


def numbers(name, n):
    """n hashed 32-bit numbers: FNV-1a of the name, then MurmurHash3's finalizer."""
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    x = np.uint32(h) + np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9)
    x = (x ^ x >> 16) * np.uint32(0x85EBCA6B)
    x = (x ^ x >> 13) * np.uint32(0xC2B2AE35)
    return x ^ x >> 16


def uniform(name, n):
    """n multiples of 2^-15 from -1 up to 1, exact in float32."""
    return (numbers(name, n) >> 16).astype(np.float64) / 32768 - 1


def parameter(leaf, n):
    """A parameter's values, of a size that keeps the activations near 1."""
    u = uniform(leaf, n)
    if "norm" in leaf:
        return (1 if leaf.endswith(".weight") else 0) + u / 4
    if leaf.endswith("cls_token") or leaf.endswith("pos_embed"):
        return u / 2
    if leaf.endswith("patch_embed.proj.weight") or leaf.endswith("head.weight"):
        return u / 4
    if leaf.endswith("mlp.fc2.weight"):
        return u / 16
    return u / 8


def targets(classes):
    """Soft targets: four classes a sample share 1 as 1/2, 1/4, 1/8, 1/8."""
    t = np.zeros((BATCH, classes))
    chosen = numbers("targets", 4 * BATCH) % classes
    for i, share in enumerate([1 / 2, 1 / 4, 1 / 8, 1 / 8] * BATCH):
        t[i // 4, chosen[i]] += share
    return t


class Scale(torch.nn.Module):
    """Drop path with the masks given: one factor a sample."""

    def __init__(self, factors):
        super().__init__()
        self.register_buffer("factors", torch.tensor(factors, dtype=torch.float64))

    def forward(self, x):
        return x * self.factors[:, None, None]


def case(name, split, meta_depth, hybrid):
    vit = dict(Image=32, Channels=3, Patch=4, Width=192, Depth=sum(split), Heads=3,
               MLPRatio=4.0, QKVBias=True, NormEps=1e-6, Classes=100)
    k = len(split)
    if hybrid == 0:
        stem = head = "target"
        layers = [("target", b) for b in range(sum(split))]
    else:
        stem = "target" if hybrid == 1 else "meta"
        head = "target" if hybrid == k else "meta"
        first = sum(split[:hybrid - 1])
        layers = [("meta", b) for b in range((hybrid - 1) * meta_depth)]
        layers += [("target", first + b) for b in range(split[hybrid - 1])]
        layers += [("meta", b) for b in range(hybrid * meta_depth, k * meta_depth)]

    m = VisionTransformer(img_size=32, patch_size=4, embed_dim=192, depth=len(layers), num_heads=3,
                          num_classes=100).double().train()
    leaves = {}
    for n, p in m.named_parameters():
        if n.startswith("blocks."):
            _, i, rest = n.split(".", 2)
            owner, b = layers[int(i)]
            leaf = f"{owner}/blocks.{b}.{rest}"
        else:
            leaf = (head if n.startswith(("norm", "head")) else stem) + "/" + n
        leaves[leaf] = p
        with torch.no_grad():
            p.copy_(torch.from_numpy(parameter(leaf, p.numel())).view_as(p))
        p.requires_grad = leaf.startswith("target/")

    drops = {}
    for block, (owner, b) in list(zip(m.blocks, layers))[1:]:  # DeiT's rates start at 0: the first never drops
        keep = numbers(f"drop {owner}/blocks.{b}", 2 * BATCH) % 5 != 0
        factors = (keep / KEEP).reshape(2, BATCH).tolist()
        drops[f"{owner}/blocks.{b}"] = factors
        block.drop_path1, block.drop_path2 = Scale(factors[0]), Scale(factors[1])

    images = torch.from_numpy(uniform("images", BATCH * 3 * 32 * 32)).view(BATCH, 3, 32, 32) * 2
    logits = m(images)
    loss = -(torch.from_numpy(targets(100)) * torch.log_softmax(logits, -1)).sum(-1).mean()
    loss.backward()

    short = lambda a: [float(f"{x:.12g}") for x in np.asarray(a).ravel()]
    grads = {}
    for leaf, p in leaves.items():
        if not p.requires_grad:
            continue
        g = p.grad.numpy().ravel()
        at = np.arange(g.size) if g.size <= FULL else numbers("at " + leaf, SAMPLE) % g.size
        grads[leaf] = dict(Norm=short([np.linalg.norm(g)])[0], Dot=short([g @ uniform("dot " + leaf, g.size)])[0],
                           Values=short(g[at]))
    return dict(Name=name, ViT=vit, Split=split, MetaDepth=meta_depth, Hybrid=hybrid, Drops=drops,
                Logits=short(logits.detach()), Loss=short([loss.item()])[0], Grads=grads)


cases = [
    case("DeiT-T of depth 4", [1, 1, 1, 1], 1, 0),
    case("hybrid 2 of DeiT-T of depth 5", [1, 2, 1, 1], 1, 2),
]
print("[")
for i, c in enumerate(cases):
    grads = c.pop("Grads")
    print(json.dumps(c)[:-1] + ', "Grads": {')
    print(",\n".join(f"  {json.dumps(n)}: {json.dumps(g)}" for n, g in grads.items()))
    print("}}" + ("," if i + 1 < len(cases) else ""))
print("]")
