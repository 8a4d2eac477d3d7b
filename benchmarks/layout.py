"""Time of one synthetic annotation: ring layout and painting, beside the paper's map and a floor.

    python benchmarks/layout.py --json            # the whole reference: more than a minute
    python benchmarks/layout.py --json --quick    # a short reference, marked as such; no ratio

1920×1200, 669 cells of 46 ± 5 px, one core, a warm workspace, uint16 labels into a given array, through the
public functions. ``ring_ms`` is the median over seeds of layout + paint after compilation; ``floor_ms`` the
median of zeroing the map and painting ready-made spans, which any method must do; ``reference_ms`` one run of
`tests/layout_reference.py`, the paper's map, for as many cells. ``contact_ms`` is as ``ring_ms`` by a law like
that of Chula RBC-12; ``dense_900_ms`` and ``dense_1200_ms`` are for so many cells, with what was placed at least
and, for 1,200, the share of hidden pixels; ``two_thread_ratio`` the masks of two threads over those of one in the
same time; ``large_s`` one contact layout with its int32 labels, 16,384², 78,000 cells, on warm buffers. With
``--json`` the last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from layout_reference import red_cells, reference_layout
from smearsynth.layout import (
    InteractionParameters,
    SmearParameters,
    Workspace,
    contact_layout,
    ring_layout,
    uniform_layout,
)
from smearsynth.layout.painting import overlap_fraction, paint_labels

SIZE, COUNT, CELL_SIZE = (1200, 1920), 669, 46.0
QUICK_COUNT = 30
# Near what fits the Chula RBC-12 smears: a cell in two attached, a fifth of them touching.
LAW = SmearParameters(adhesion=0.45, touch=0.2, form=InteractionParameters(overlap=0.03, gap=0.07))
LARGE, LARGE_COUNT = (16384, 16384), 78_000


@numba.njit
def paint_spans(rows, starts, ends, values, out):
    for k in range(rows.size):
        out[rows[k], starts[k] : ends[k]] = values[k]


def spans_of(labels):
    """Runs of one label in a row, sorted by label: (rows, starts, ends, values)."""
    padded = np.pad(labels.astype(np.int32), ((0, 0), (1, 1)))
    rows, edges = np.nonzero(np.diff(padded, axis=1))
    values = padded[rows, edges + 1]
    ends = np.append(edges[1:], 0)
    order = np.argsort(values, kind="stable")
    order = order[values[order] > 0]
    return rows[order], edges[order], ends[order], values[order].astype(np.uint16)


def median_ms(call: Callable[[int], object], runs: int) -> tuple[float, float, float]:
    """Median, 10 % and 90 % quantile of the time of a call in ms."""
    times = []
    for run in range(runs):
        start = time.perf_counter()
        call(run)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), *(float(q) for q in np.quantile(times, (0.1, 0.9)))


def measure(runs: int, quick: bool) -> dict[str, object]:
    shapes = red_cells()
    warm, out = Workspace(shapes), np.zeros(SIZE, np.uint16)
    start = time.perf_counter()
    paint_labels(ring_layout(SIZE, COUNT, warm, cell_size=CELL_SIZE, rng=0), warm, out)
    compile_s = time.perf_counter() - start
    spans = spans_of(out)
    paint_spans(*spans, out)

    def ring(run):
        laid = ring_layout(SIZE, COUNT, warm, cell_size=CELL_SIZE, rng=run)
        paint_labels(laid, warm, out)
        return laid

    def floor(run):
        out[:] = 0
        paint_spans(*spans, out)

    placed = [ring(run).placed for run in range(runs)]
    if min(placed) < COUNT:
        print(f"{sum(n < COUNT for n in placed)} of {runs} layouts placed fewer than {COUNT} cells")
    ring_ms, low, high = median_ms(ring, runs)
    floor_ms, _, _ = median_ms(floor, runs)
    layout_ms, _, _ = median_ms(lambda run: ring_layout(SIZE, COUNT, warm, cell_size=CELL_SIZE, rng=run), runs)
    uniform_ms, _, _ = median_ms(
        lambda run: paint_labels(uniform_layout(SIZE, COUNT, warm, rng=run), warm, out), runs
    )
    cells = QUICK_COUNT if quick else COUNT
    reference = reference_layout(SIZE, cells, shapes, cell_size=CELL_SIZE, rng=1)
    if len(reference.centres) < cells:
        sys.exit(f"the reference placed {len(reference.centres)} of {cells} cells")
    result: dict[str, object] = {
        "ring_ms": round(ring_ms, 3),
        "ring_ms_p10": round(low, 3),
        "ring_ms_p90": round(high, 3),
        "layout_only_ms": round(layout_ms, 3),
        "uniform_ms": round(uniform_ms, 3),
        "floor_ms": round(floor_ms, 3),
        "reference_ms": round(reference.seconds * 1e3, 1),
        "reference_cells": cells,
        "first_call_s": round(compile_s, 2),
        "runs": runs,
    }
    result |= contact_figures(warm, out, runs)
    if not quick:
        result["ratio"] = round(reference.seconds * 1e3 / ring_ms)
    return result


def contact_figures(warm: Workspace, out: np.ndarray, runs: int) -> dict[str, object]:
    def contact(count, law=LAW, size=SIZE, shapes=warm, into=out):
        def once(run):
            laid = contact_layout(size, count, shapes, parameters=law, rng=run)
            paint_labels(laid, shapes, into)
            return laid

        return once

    contact(COUNT)(0)
    figures: dict[str, object] = {"contact_ms": round(median_ms(contact(COUNT), runs)[0], 3)}
    for count in (900, 1200):
        dense = contact(count)
        figures[f"dense_{count}_ms"] = round(median_ms(dense, max(runs // 5, 3))[0], 3)
        laid = [dense(run) for run in range(max(runs // 10, 3))]
        figures[f"dense_{count}_placed"] = min(one.placed for one in laid)
        if count == 1200:
            shares = [overlap_fraction(one, warm, paint_labels(one, warm)) for one in laid]
            figures["dense_1200_overlap"] = round(max(shares), 5)
    figures["two_thread_ratio"] = round(two_thread_ratio(warm.shapes, runs), 3)
    labels = np.zeros(LARGE, np.int32)
    large = contact(LARGE_COUNT, size=LARGE, shapes=Workspace(warm.shapes), into=labels)
    large(0)
    figures["large_s"] = round(median_ms(large, 3)[0] / 1e3, 3)
    return figures


def two_thread_ratio(shapes, runs: int) -> float:
    """Masks a second of two threads, each with its workspace, over those of one."""

    def masks(seed):
        warm, out = Workspace(shapes), np.zeros(SIZE, np.uint16)
        barrier.wait()
        for run in range(runs):
            paint_labels(contact_layout(SIZE, COUNT, warm, parameters=LAW, rng=[seed, run]), warm, out)

    times = []
    for threads in (1, 2):
        barrier = threading.Barrier(threads + 1)
        workers = [threading.Thread(target=masks, args=(seed,)) for seed in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        start = time.perf_counter()
        for worker in workers:
            worker.join()
        times.append(time.perf_counter() - start)
    return 2 * times[0] / times[1]


def machine() -> dict[str, object]:
    model = next(
        (line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), platform.processor()
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument(
        "--quick", action="store_true", help=f"the reference with {QUICK_COUNT} cells only; no ratio"
    )
    parser.add_argument("--runs", type=int, default=101, help="layouts timed, each with its own seed")
    options = parser.parse_args()
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    result = measure(options.runs, options.quick)
    if options.quick:
        print(f"quick: the reference placed {QUICK_COUNT} of {COUNT} cells, its time is no basis for a ratio")
    for key, value in result.items():
        print(f"{key:16} {value}")
    if options.json:
        print(json.dumps(result | {"machine": about}))


if __name__ == "__main__":
    main()
