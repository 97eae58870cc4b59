"""Writes python.safetensors beside this file with the reference implementation.

Made with safetensors 0.8.0:  python golden.py
"""
import hashlib, pathlib
import numpy as np
from safetensors.numpy import save

tensors = {
    "head.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "head.bias": np.array([-0.0, np.inf, np.nan, 1e-45], dtype=np.float32),
    "empty": np.zeros((0, 4), dtype=np.float32),
    "step": np.array(3, dtype=np.float32),
}
# The seal: SHA-256 of the file with zeros in the seal's place.
blank = save(tensors, metadata={"hatchery.sha256": "0" * 64})
seal = hashlib.sha256(blank).hexdigest()
sealed = save(tensors, metadata={"hatchery.sha256": seal})
here = pathlib.Path(__file__).parent
(here / "python.safetensors").write_bytes(sealed)
(here / "foreign.safetensors").write_bytes(save({"a": tensors["head.weight"]}, metadata={"format": "pt"}))
