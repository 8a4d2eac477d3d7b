"""Time of one synthetic annotation: ring layout and painting, compared with the paper's map and a lower bound.

    python benchmarks/layout.py --json            # with the whole reference: more than a minute
    python benchmarks/layout.py --json --quick    # with a short reference, marked as such; no ratio

The canvas is 1920 × 1200 px with 669 cells of 46 ± 5 px. All runs use one core, a warm workspace, uint16 labels
written into an existing array, and the public functions. Results:

``ring_ms``
    Median over seeds of ring layout and painting, after compilation.
``floor_ms``
    Median of clearing the labels and painting prepared spans, which every method must do.
``reference_ms``
    One run of `tests/layout_reference.py`, the paper's map, for the same number of cells.
``contact_ms``
    As ``ring_ms``, for a contact layout with parameters like those of Chula RBC-12.
``dense_900_ms``, ``dense_1200_ms``
    As ``contact_ms`` for 900 and 1,200 cells, with the smallest number of placed cells, and for 1,200 with the
    largest fraction of hidden pixels.
``two_thread_ratio``
    Annotations per second of two threads over those of one thread.
``large_s``
    One contact layout with int32 labels on 16,384 × 16,384 px, 78,000 cells, with warm buffers.

With ``--json`` the last line of stdout is one JSON object.
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
# Near the fit to Chula RBC-12: about half of the cells are attached, a fifth of these touch.
PARAMETERS = SmearParameters(adhesion=0.45, touch=0.2, form=InteractionParameters(overlap=0.03, gap=0.07))
LARGE, LARGE_COUNT = (16384, 16384), 78_000


@numba.njit
def paint_spans(rows, starts, ends, values, out):
    for k in range(rows.size):
        out[rows[k], starts[k] : ends[k]] = values[k]


def spans_of(labels):
    """Return the runs of one label per row, sorted by label: (rows, starts, ends, values)."""
    padded = np.pad(labels.astype(np.int32), ((0, 0), (1, 1)))
    rows, edges = np.nonzero(np.diff(padded, axis=1))
    values = padded[rows, edges + 1]
    ends = np.append(edges[1:], 0)
    order = np.argsort(values, kind="stable")
    order = order[values[order] > 0]
    return rows[order], edges[order], ends[order], values[order].astype(np.uint16)


def median_ms(call: Callable[[int], object], runs: int) -> tuple[float, float, float]:
    """Return the median, 10 % and 90 % quantile of the time of a call in ms."""
    times = []
    for run in range(runs):
        start = time.perf_counter()
        call(run)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), *(float(q) for q in np.quantile(times, (0.1, 0.9)))


def measure(runs: int, quick: bool) -> dict[str, object]:
    shapes = red_cells()
    workspace, out = Workspace(shapes), np.zeros(SIZE, np.uint16)
    start = time.perf_counter()
    paint_labels(ring_layout(SIZE, COUNT, workspace, cell_size=CELL_SIZE, rng=0), workspace, out)
    compile_s = time.perf_counter() - start
    spans = spans_of(out)
    paint_spans(*spans, out)

    def ring(run):
        layout = ring_layout(SIZE, COUNT, workspace, cell_size=CELL_SIZE, rng=run)
        paint_labels(layout, workspace, out)
        return layout

    def floor(run):
        out[:] = 0
        paint_spans(*spans, out)

    placed = [ring(run).placed for run in range(runs)]
    if min(placed) < COUNT:
        print(f"{sum(n < COUNT for n in placed)} of {runs} layouts placed fewer than {COUNT} cells")
    ring_ms, low, high = median_ms(ring, runs)
    floor_ms, _, _ = median_ms(floor, runs)
    layout_ms, _, _ = median_ms(lambda run: ring_layout(SIZE, COUNT, workspace, cell_size=CELL_SIZE, rng=run), runs)
    uniform_ms, _, _ = median_ms(
        lambda run: paint_labels(uniform_layout(SIZE, COUNT, workspace, rng=run), workspace, out), runs
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
    result |= contact_figures(workspace, out, runs)
    if not quick:
        result["ratio"] = round(reference.seconds * 1e3 / ring_ms)
    return result


def contact_figures(workspace: Workspace, out: np.ndarray, runs: int) -> dict[str, object]:
    def contact(count, size=SIZE, shapes=workspace, labels=out):
        def run_once(run):
            layout = contact_layout(size, count, shapes, parameters=PARAMETERS, rng=run)
            paint_labels(layout, shapes, labels)
            return layout

        return run_once

    contact(COUNT)(0)
    figures: dict[str, object] = {"contact_ms": round(median_ms(contact(COUNT), runs)[0], 3)}
    for count in (900, 1200):
        dense = contact(count)
        figures[f"dense_{count}_ms"] = round(median_ms(dense, max(runs // 5, 3))[0], 3)
        layouts = [dense(run) for run in range(max(runs // 10, 3))]
        figures[f"dense_{count}_placed"] = min(layout.placed for layout in layouts)
        if count == 1200:
            fractions = [overlap_fraction(layout, workspace, paint_labels(layout, workspace)) for layout in layouts]
            figures["dense_1200_overlap"] = round(max(fractions), 5)
    figures["two_thread_ratio"] = round(two_thread_ratio(workspace.shapes, runs), 3)
    large_labels = np.zeros(LARGE, np.int32)
    large = contact(LARGE_COUNT, size=LARGE, shapes=Workspace(workspace.shapes), labels=large_labels)
    large(0)
    figures["large_s"] = round(median_ms(large, 3)[0] / 1e3, 3)
    return figures


def two_thread_ratio(shapes, runs: int) -> float:
    """Annotations per second of two threads, each with its own workspace, over those of one thread."""

    def draw_layouts(seed):
        workspace, out = Workspace(shapes), np.zeros(SIZE, np.uint16)
        barrier.wait()
        for run in range(runs):
            layout = contact_layout(SIZE, COUNT, workspace, parameters=PARAMETERS, rng=[seed, run])
            paint_labels(layout, workspace, out)

    times = []
    for threads in (1, 2):
        barrier = threading.Barrier(threads + 1)
        workers = [threading.Thread(target=draw_layouts, args=(seed,)) for seed in range(threads)]
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
        "--quick", action="store_true", help=f"run the reference with {QUICK_COUNT} cells only; no ratio"
    )
    parser.add_argument("--runs", type=int, default=101, help="number of timed layouts, each with its own seed")
    options = parser.parse_args()
    description = machine()
    print(", ".join(f"{key} {value}" for key, value in description.items()))
    result = measure(options.runs, options.quick)
    if options.quick:
        print(f"quick: the reference placed {QUICK_COUNT} of {COUNT} cells, so no ratio is reported")
    for key, value in result.items():
        print(f"{key:16} {value}")
    if options.json:
        print(json.dumps(result | {"machine": description}))


if __name__ == "__main__":
    main()
