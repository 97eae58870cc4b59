"""Writes golden.json: timm's operations for "rand-..." and their arguments.

    python3 datasets/randaugment/testdata/golden.py   (needs torch and timm)
"""
import json
import pathlib

from timm.data import auto_augment as aa

NOTATIONS = ["rand", "rand-m9-mstd0.5-inc1", "rand-m7-n3-p0.25", "rand-m5-mstd101-inc0", "rand-mmax8-m10-n1-mstd1-inc1"]
golden = {"Policies": [], "Arguments": []}
for text in NOTATIONS:
    r = aa.rand_augment_transform(text, dict(translate_const=100, img_mean=(124, 116, 104)))
    o = r.ops[0]
    golden["Policies"].append(
        {
            "Text": text,
            "Layers": r.num_layers,
            "Prob": o.prob,
            "Magnitude": o.magnitude,
            "Std": min(o.magnitude_std, 1e300),  # JSON has no infinity
            "Max": o.magnitude_max or 10,
            "Ops": [x.name for x in r.ops],
        }
    )
negate = False
aa._randomly_negate = lambda v: -v if negate else v
for name in sorted({name for p in golden["Policies"] for name in p["Ops"]}):
    f = aa.LEVEL_TO_ARG[name]
    for level in (0, 0.3, 2.5, 4.99, 5, 8.2317, 9, 9.4142135623, 10):
        for negate in (False, True):
            args = f(level, {}) if f else ()
            golden["Arguments"].append({"Op": name, "Level": level, "Negative": negate, "Args": args})
path = pathlib.Path(__file__).parent / "golden.json"
path.write_text(json.dumps(golden).replace("}, ", "},\n") + "\n")
print(len(golden["Arguments"]), "arguments")
