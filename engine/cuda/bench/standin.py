"""Replaces pytorch.py in a rehearsal without PyTorch.

Its times mean nothing. The table marks its rows with STAND-IN.
"""

import json
import sys
import time


def main():
    if "--warm" in sys.argv:
        return
    print(json.dumps({"ready": "a stand-in for PyTorch", "standin": True}), flush=True)
    for line in sys.stdin:
        what, n = line.split()
        if what != "steps":
            sys.exit(f"{line!r}: unknown command")
        began = time.perf_counter()
        time.sleep(0.002 * int(n))
        print(json.dumps({"seconds": time.perf_counter() - began, "loss": 0.0}), flush=True)


if __name__ == "__main__":
    main()
