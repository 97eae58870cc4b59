"""Writes adamw.json, average.json, lamb.json and schedule.json beside this file.

Made with PyTorch 2.15.0 and timm 1.0.31:  python golden.py
"""
import json, math, pathlib
import torch
from timm.optim import Lamb
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV2

here = pathlib.Path(__file__).parent


def short(t):
    """The shortest decimals that give back each float32."""
    return [float(str(x)) for x in t.detach().flatten().numpy()]


def adamw(seed, lr, wd, betas, eps, clip, steps=10):
    g = torch.Generator().manual_seed(seed)
    shapes = {"weight": [5, 3], "bias": [7], "scale": [1]}
    params = {n: torch.randn(s, generator=g).requires_grad_() for n, s in shapes.items()}
    opt = torch.optim.AdamW(
        [{"params": [params["weight"]], "weight_decay": wd},
         {"params": [params["bias"], params["scale"]], "weight_decay": 0.0}],
        lr=lr, betas=betas, eps=eps, foreach=False)
    out = dict(lr=lr, weight_decay=wd, betas=betas, eps=eps, clip=clip,
               start={n: short(p) for n, p in params.items()}, steps=[])
    for step in range(steps):
        # Magnitudes over several decades; some steps are clipped and some are not.
        scale = 10.0 ** ((step % 5) - 3)
        for p in params.values():
            p.grad = torch.randn(p.shape, generator=g) * scale
        if step == 6:
            params["bias"].grad.zero_()
        rate = lr * (1 - step / steps)
        for group in opt.param_groups:
            group["lr"] = rate
        row = dict(lr=rate, grad={n: short(p.grad) for n, p in params.items()})
        row["norm"] = float(torch.nn.utils.clip_grad_norm_(params.values(), clip, foreach=False)) if clip else 0.0
        opt.step()
        row["value"] = {n: short(p) for n, p in params.items()}
        row["m"] = {n: short(opt.state[p]["exp_avg"]) for n, p in params.items()}
        row["v"] = {n: short(opt.state[p]["exp_avg_sq"]) for n, p in params.items()}
        out["steps"].append(row)
    return out


def lamb(seed, lr, wd, betas, eps, clip, steps=10):
    """timm's Lamb clips the gradients itself. The last tensor is all 0 at first: its trust ratio is 1."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"weight": [5, 3], "bias": [7], "zero": [2, 2]}
    params = {n: torch.randn(s, generator=g).requires_grad_() for n, s in shapes.items()}
    with torch.no_grad():
        params["zero"].zero_()
    opt = Lamb(
        [{"params": [params["weight"], params["zero"]], "weight_decay": wd},
         {"params": [params["bias"]], "weight_decay": 0.0}],
        lr=lr, betas=betas, eps=eps, max_grad_norm=clip or None, foreach=False)
    out = dict(lr=lr, weight_decay=wd, betas=betas, eps=eps, clip=clip,
               start={n: short(p) for n, p in params.items()}, steps=[])
    for step in range(steps):
        scale = 10.0 ** ((step % 5) - 3)
        for p in params.values():
            p.grad = torch.randn(p.shape, generator=g) * scale
        if step == 0:
            params["zero"].grad.zero_()
        rate = lr * (1 - step / steps)
        for group in opt.param_groups:
            group["lr"] = rate
        row = dict(lr=rate, grad={n: short(p.grad) for n, p in params.items()})
        row["norm"] = float(torch.cat([p.grad.flatten() for p in params.values()]).norm()) if clip else 0.0
        opt.step()
        row["value"] = {n: short(p) for n, p in params.items()}
        row["m"] = {n: short(opt.state[p]["exp_avg"]) for n, p in params.items()}
        row["v"] = {n: short(opt.state[p]["exp_avg_sq"]) for n, p in params.items()}
        out["steps"].append(row)
    return out


def average(seed, decay, steps=10):
    g = torch.Generator().manual_seed(seed)
    model = torch.nn.Linear(4, 3)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=g))
    ema = ModelEmaV2(model, decay=decay)
    out = dict(decay=decay, start=short(model.weight), steps=[])
    for _ in range(steps):
        with torch.no_grad():
            model.weight.add_(torch.randn(model.weight.shape, generator=g))
        ema.update(model)
        out["steps"].append(dict(value=short(model.weight), average=short(ema.module.weight)))
    return out


def schedule(lr, min_lr, warmup_lr, warmup, total, per_epoch, lag=0):
    """per_epoch = 0: t in epochs; otherwise in steps, that many an epoch. With a lag, step follows the epoch."""
    unit = per_epoch or 1
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    s = CosineLRScheduler(opt, t_initial=total * unit, lr_min=min_lr, warmup_t=warmup * unit,
                          warmup_lr_init=warmup_lr, t_in_epochs=per_epoch == 0)
    rates = []
    for t in range(total * unit + 3):
        if lag:
            rates.append(opt.param_groups[0]["lr"])
        (s.step_update if per_epoch else s.step)(t)
        if not lag:
            rates.append(opt.param_groups[0]["lr"])
    return dict(lr=lr, min_lr=min_lr, warmup_lr=warmup_lr, warmup=warmup, total=total,
                per_epoch=per_epoch, lag=lag, rates=rates)


def mae_schedule(lr, min_lr, warmup, total, per_epoch):
    """MAE's adjust_learning_rate, step by step, as util/lr_sched.py says it."""
    rates = []
    for step in range(total * per_epoch):
        epoch = step / per_epoch
        if epoch < warmup:
            rates.append(lr * epoch / warmup)
        else:
            rates.append(min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (total - warmup))))
    return dict(lr=lr, min_lr=min_lr, warmup_lr=0, warmup=warmup, total=total,
                per_epoch=per_epoch, start=warmup, rates=rates)


json.dump([
    adamw(1, 1e-3, 0.05, [0.9, 0.999], 1e-8, 0),
    adamw(2, 2e-3, 0.05, [0.9, 0.999], 1e-8, 1.0),
    adamw(3, 1e-2, 0.3, [0.9, 0.95], 1e-6, 0.02),
    adamw(4, 1e-1, 0.0, [0.0, 0.5], 1e-3, 5.0),
], open(here / "adamw.json", "w"), indent=None, separators=(",", ":"))
json.dump([average(8, 0.9), average(9, 0.9999)], open(here / "average.json", "w"), indent=None, separators=(",", ":"))
json.dump([
    lamb(5, 3e-3, 0.05, [0.9, 0.999], 1e-8, 1.0),
    lamb(6, 1e-2, 0.02, [0.9, 0.95], 1e-6, 0),
    lamb(7, 1e-2, 0.0, [0.9, 0.999], 1e-6, 0.02),
], open(here / "lamb.json", "w"), indent=None, separators=(",", ":"))
json.dump([
    schedule(2e-3, 1e-5, 1e-6, 20, 300, 0),
    schedule(2e-3, 1e-5, 1e-6, 0, 100, 0),
    schedule(5e-4, 0.0, 0.0, 3, 15, 0),
    schedule(1e-3, 1e-5, 1e-6, 5, 5, 0),
    schedule(1e-3, 1e-5, 1e-6, 8, 5, 0),
    schedule(1e-3, 1e-5, 1e-6, 0, 1, 0),
    schedule(5e-6, 5e-6, 1e-6, 5, 30, 0),
    schedule(1e-3, 1e-5, 1e-6, 2, 9, 7),
    schedule(1e-3, 1e-5, 1e-6, 0, 4, 13),
    schedule(2e-3, 1e-5, 1e-6, 20, 300, 0, lag=1),
    schedule(2e-3, 1e-5, 1e-6, 0, 100, 0, lag=1),
    mae_schedule(1.6e-3, 0, 4, 20, 7),
    mae_schedule(1e-3, 1e-6, 1, 5, 3),
], open(here / "schedule.json", "w"), indent=None, separators=(",", ":"))
