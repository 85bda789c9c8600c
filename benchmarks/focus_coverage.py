"""Whether 90 % intervals cover 90 % of the slices of simulated specimens that were never seen.

    python benchmarks/focus_coverage.py --specimens 1000

Every specimen is drawn and imaged as a sweep of a few small slices. A ridge learns from 100 of
them, 1,000 others make the intervals, 1,000 more are looked at: about a third of a second each.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from luxvox.finetune.focus.benchmark.coverage import measure_coverage
from luxvox.finetune.focus.benchmark.plan import SimulatedCases
from luxvox.finetune.focus.benchmark.simulated import training_cases

LEARNT = 100


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--specimens", type=int, default=1000, help="to calibrate, and to look at")
    parser.add_argument("--side", type=int, default=64, help="of a slice, in pixels")
    parser.add_argument("--slices", type=int, default=5, help="of a sweep")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None, help="JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = SimulatedCases(
        training=LEARNT + 2 * options.specimens,
        side=options.side,
        slices=options.slices,
        seed=options.seed,
    )
    found = measure_coverage(training_cases(recipe, "sweep"), LEARNT, options.specimens)
    verdict = "holds" if abs(found.covered - 0.9) <= found.error else "does not hold"
    print(
        f"90 % intervals (+- {found.radius:.2f} depths of field) cover {found.covered:.3f} of the "
        f"slices of {found.specimens} unseen specimens; 0.9 +- {found.error:.3f} {verdict}"
    )
    if options.out is not None:
        options.out.write_text(json.dumps(found._asdict(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
