"""Answers in place of pytorch.py in a rehearsal where there is no PyTorch.

Its times are those of doing nothing. The table says STAND-IN in each of its rows.
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
            sys.exit(f"{line!r}: not known")
        began = time.perf_counter()
        time.sleep(0.002 * int(n))
        print(json.dumps({"seconds": time.perf_counter() - began, "loss": 0.0}), flush=True)


if __name__ == "__main__":
    main()
