"""Runs of hatchery in a lease: their numbers of epochs, settings and results."""

import json
from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True)
class Plan:
    """Epochs of each kind of stage."""

    meta: int
    modules: int
    finetune: int
    e2e: int

    def __str__(self):
        return f"meta {self.meta}, modules {self.modules} + {self.finetune}, end to end {self.e2e} epochs"

    @staticmethod
    def long(before, seconds):
        """Returns the preset's epochs (fashion-deit.toml), scaled to the given seconds by
        the measured seconds of an epoch of each kind. If these are unknown, returns the
        short plan."""
        whole = {"meta": 60, "modules": 40, "finetune": 20, "e2e": 80}
        known = [r["value"].get("rates") for r in before if r["what"] == "training" and isinstance(r["value"], dict)]
        rates = next((r for r in reversed(known) if r), {})
        if not isinstance(rates, dict) or not all(isinstance(rates.get(k), (int, float)) for k in whole):
            return SHORT
        share = min(1.0, seconds / max(1e-9, sum(n * rates[k] for k, n in whole.items())))
        return Plan(**{k: max(1, int(n * share)) for k, n in whole.items()})


SHORT = Plan(meta=3, modules=3, finetune=2, e2e=6)


def data(images):
    return f"packed images, {images['classes']} classes, {images['train']} for training" if images else "fashion-mnist-5k"


def settings(plan, images, rehearsal):
    """Returns the settings that differ from the preset fashion-deit. images describes the
    packed images, or is None for the images in the program."""
    s = [
        "run.device=cuda", f"schedule={plan.modules}+{plan.finetune}", f"meta.epochs={plan.meta}", f"e2e.epochs={plan.e2e}",
        f"train.warmup_epochs={warmup(min(plan.meta, plan.modules, plan.finetune))}", f"e2e.warmup_epochs={warmup(plan.e2e)}",
    ]
    if images:
        s += ["data.name=folder", f"data.root={images['folder']}", f"model.classes={images['classes']}"]
        s += ["model.image=32", "model.channels=3", "augment.crop_padding=4"]
    else:
        s += ["data.name=fashion-mnist-5k"]
    if rehearsal:
        patch = 16 if images else 14
        s += [
            "data.train=16", "data.eval=8", "train.batch=8", "e2e.batch=8", "train.lr_batch=0", f"model.patch={patch}", "model.width=16",
            "model.heads=1", "model.depth=4",
        ]
    return s


def warmup(epochs):
    """The preset's 4 epochs, or fewer where there are few."""
    return min(4, epochs - 1, 1 + epochs // 6)


def summarize(path):
    """What the events of a run say: top-1 of each stage and method, the seconds on
    the clock that an epoch of each kind took, modules together, and how many
    events could not be read."""
    stages, methods, spans, unread = {}, {}, {}, 0
    with open(path, "rb") as f:
        for line in f:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # torn, where the run was ended
            try:
                read_event(event, stages, methods, spans)
            except (AttributeError, KeyError, TypeError, ValueError):
                unread += 1
    rates = {kind: (end - start) / epochs for kind, (start, end, epochs) in spans.items() if epochs}
    return {"stages": stages, "methods": methods, "rates": rates, "unread": unread}


def read_event(event, stages, methods, spans):
    stage, values = event.get("stage", ""), event.get("values", {})
    kind = "modules" if stage.startswith("module-") else stage
    if event["kind"] == "stage-start":
        spans.setdefault(kind, [at(event), at(event), 0])
    elif event["kind"] == "epoch":
        spans[kind][1:] = at(event), int(event["epoch"])
    elif event["kind"] == "stage-end":
        stages[stage] = {"top1": values.get("top1"), "seconds": values.get("train_seconds", 0)}
    elif event["kind"] == "result":
        methods[event["method"]] = dict(values)


def at(event):
    """The seconds of an event's time, which is UTC."""
    whole, _, fraction = event["time"].removesuffix("Z").partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return moment.timestamp() + float(f"0.{fraction or 0}")
