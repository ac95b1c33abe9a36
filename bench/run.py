"""``python bench/run.py``: the load benchmark; ``--help`` says what it takes, ``bench/load/`` is how it works."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    runpy.run_module("bench.load", run_name="__main__", alter_sys=True)
