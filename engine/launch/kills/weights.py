"""The weights that a run ends with, and their comparison."""

import json
import os
import struct


class Broken(Exception):
    """The error of a case that fails."""


def final(stage):
    """Returns the final tensors of a stage: type, shape and bytes by name."""
    try:
        with open(os.path.join(stage, "done"), encoding="utf-8") as f:
            done = json.load(f)
        with open(os.path.join(stage, done["checkpoint"]), "rb") as f:
            length, = struct.unpack("<Q", f.read(8))
            header, data = json.loads(f.read(length)), f.read()
    except (OSError, ValueError, KeyError, struct.error) as err:
        raise Broken(f"{stage} has no final weights: {err}") from err
    header.pop("__metadata__", None)
    return {name: (t["dtype"], tuple(t["shape"]), data[t["data_offsets"][0]:t["data_offsets"][1]]) for name, t in header.items()}


def differ(got, want):
    """Raises Broken if the weights of two runs differ."""
    if got.keys() != want.keys():
        raise Broken(f"the stages are {sorted(got)}, want {sorted(want)}")
    for stage in want:
        if got[stage].keys() != want[stage].keys():
            raise Broken(f"{stage}: the tensors are {sorted(got[stage])}, want {sorted(want[stage])}")
        bad = [name for name in want[stage] if got[stage][name] != want[stage][name]]
        if bad:
            raise Broken(f"{stage}: {len(bad)} of {len(want[stage])} tensors differ: {', '.join(bad[:5])}")
