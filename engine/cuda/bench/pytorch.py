"""Makes training steps of timm's vision transformer in PyTorch, for the program lease.

It has the same flags and answers as main.go and uses PyTorch's fastest options: bfloat16
autocast, scaled_dot_product_attention, fused AdamW, TensorFloat-32 for what
autocast leaves in float32, soft targets, drop path. Images and targets are made
once and stay on the device, so PyTorch does less than hatchery, which copies every
batch from the host as bytes, then normalises, mixes and erases it.
"""

import argparse
import json
import sys
import time

import timm
import torch


def arguments():
    p = argparse.ArgumentParser()
    for name in ("image", "patch", "width", "depth", "heads", "classes", "batch"):
        p.add_argument("-" + name, type=int, required=True)
    p.add_argument("-drop-path", type=float, default=0.0)
    p.add_argument("--compile", help="mode of torch.compile: default, reduce-overhead or max-autotune; without it, eager mode")
    p.add_argument("--regional", action="store_true", help="compile block by block instead of the whole network, which takes minutes for deep networks")
    p.add_argument("--sdpa", choices=["cudnn"], help="use only this implementation of attention")
    p.add_argument("--warm", action="store_true", help="fill the caches of compiled code and exit")
    p.add_argument("--device", default="cuda")
    return p.parse_args()


def compiled_graphs():
    """Returns the number of compiled graphs. With fullgraph, graph breaks and too many
    graphs raise an exception; this function checks that anything was compiled at all."""
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    if graphs < 1:
        sys.exit("nothing was compiled, so the measurement would be that of eager mode")
    return graphs


def main():
    a = arguments()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True  # for the convolution of the patch embedding
    if a.sdpa == "cudnn":  # with the others disabled, PyTorch cannot silently use another
        torch.backends.cuda.enable_cudnn_sdp(True)
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)
        torch.backends.cuda.enable_math_sdp(False)
    model = timm.create_model(
        "vit_base_patch16_224",
        pretrained=False,
        img_size=a.image,
        patch_size=a.patch,
        embed_dim=a.width,
        depth=a.depth,
        num_heads=a.heads,
        num_classes=a.classes,
        drop_path_rate=a.drop_path,
    ).to(a.device)
    if not all(b.attn.fused_attn for b in model.blocks):
        sys.exit("timm does not use scaled_dot_product_attention here")
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=1e-5,
        fused=a.device == "cuda",
    )
    images = torch.randn(a.batch, 3, a.image, a.image, device=a.device)
    targets = torch.rand(a.batch, a.classes, device=a.device).softmax(-1)

    # The fused optimizer is not compiled, as in timm's train.py.
    def loss_of(x, y):
        with torch.autocast(a.device, torch.bfloat16):
            logits = model(x)
        return torch.sum(-y * torch.log_softmax(logits.float(), -1), -1).mean()

    forward = loss_of
    if a.compile and a.regional:
        # The rate of drop path is a constant of a graph, and dynamo makes at most 8 graphs
        # of a function. So all blocks use the mean rate, which costs the same.
        for block in model.blocks:
            for drop in (block.drop_path1, block.drop_path2):
                if hasattr(drop, "drop_prob"):
                    drop.drop_prob = a.drop_path / 2
            block.compile(mode=a.compile, dynamic=False, fullgraph=True)
    elif a.compile:
        forward = torch.compile(loss_of, mode=a.compile, dynamic=False, fullgraph=True)
    model.train()

    def step():
        if a.compile:  # the results of the previous step may be overwritten
            torch.compiler.cudagraph_mark_step_begin()
        loss = forward(images, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def wait():
        if a.device == "cuda":
            torch.cuda.synchronize()

    for _ in range(2 if a.warm else 5):  # compiles, chooses algorithms, records graphs
        step()
    wait()
    graphs = compiled_graphs() if a.compile else 0
    if a.warm:
        return
    ready = {"ready": f"PyTorch {torch.__version__}, timm {timm.__version__}", "graphs": graphs}
    if a.device == "cuda":
        ready["cuda"], ready["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
        ready["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        what, n = line.split()
        if what != "steps":
            sys.exit(f"{line!r}: unknown command")
        wait()
        began = time.perf_counter()
        total = torch.zeros((), device=a.device)
        for _ in range(int(n)):
            total += step()
        wait()
        took = time.perf_counter() - began
        print(json.dumps({"seconds": took, "loss": float(total) / int(n)}), flush=True)


if __name__ == "__main__":
    main()
