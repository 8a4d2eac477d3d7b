"""Labels from boxes, from points and from the image alone, compared with annotated instances.

    python benchmarks/annotation.py [--data FOLDER] [--split train|test|all] [--limit N] [--json]

Reads ``bbbc041seg`` and ``chula`` from ``../shared/data`` or ``$SMEARSYNTH_DATA``. F1 is that of instances at
IoU 0.5, pooled over images, with optimal matching. Errors are cells without a match. The least certain 5 % of all
cells of a row should hold at least half of its errors; where more than 10 % of the cells are errors, they cannot.
Seconds are those of the processor. "Centroids" are the mean positions of the annotated instances with Gaussian
noise of a tenth of the diameter. "Marked cells" counts only annotated cells with a point: Chula has points in
fewer than half of its cells.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from smearsynth.annotation.labelling import CellLabels, labels_from_boxes, labels_from_image, labels_from_points
from smearsynth.formats.pixels.images import read_ids, read_rgb
from smearsynth.metrics.matching import label_ious, match
from smearsynth.smear import LabelArray, relabel_sequential

LEAST_CERTAIN = 0.05
JITTER = 0.1  # of the diameter


class Field(NamedTuple):
    """One image with its annotation."""

    image: npt.NDArray[np.uint8]
    truth: LabelArray
    boxes: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64]


class Outcome(NamedTuple):
    """Result for one image: counts, IoU of each match, whether each cell is right, its confidence, and seconds."""

    false_negatives: int
    ious: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.float64]
    seconds: float


def names(folder: Path, split: str) -> list[str]:
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        return [row["image"] for row in csv.DictReader(file) if split in ("all", row["split"])]


def read_field(folder: Path, name: str, boxes: dict[str, Any]) -> Field:
    image = read_rgb(next((folder / "images").glob(f"{name}.*")))
    truth, _ = relabel_sequential(read_ids(folder / "instances" / f"{name}.png"))
    table = folder / "points" / f"{name}.txt"
    lines = table.read_text(encoding="utf-8").split("\n") if table.exists() else []
    points = np.array([line.split()[:2] for line in lines if line.strip()], np.float64).reshape(-1, 2)
    corners = np.array([item["box"] for item in boxes.get(name, [])], np.float64).reshape(-1, 4)
    return Field(image, truth, corners, points)


def centroids(truth: LabelArray) -> npt.NDArray[np.float64]:
    n = int(truth.max(initial=0))
    areas = np.bincount(truth.ravel(), minlength=n + 1)[1:]
    y, x = np.indices(truth.shape)
    means = [np.bincount(truth.ravel(), weights=axis.ravel(), minlength=n + 1)[1:] / areas for axis in (x, y)]
    noise = JITTER * np.sqrt(4 / np.pi * np.median(areas)) if n else 0.0
    points = np.stack(means, 1) + 0.5 + np.random.default_rng(0).normal(0, noise, (n, 2))
    return np.clip(points, 0, np.array(truth.shape[::-1]) - 1e-3)


def marked(truth: LabelArray, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Test for each annotated cell whether it has a point, (n,) bool."""
    inside = ((points >= 0) & (points < truth.shape[::-1])).all(1)
    columns, rows = points[inside].astype(np.int64).T
    has_point = np.zeros(int(truth.max(initial=0)) + 1, np.bool_)
    has_point[truth[rows, columns]] = True
    return has_point[1:]


def tasks(data_set: str) -> dict[str, Callable[[Field], CellLabels]]:
    image: dict[str, Callable[[Field], CellLabels]] = {"image": lambda field: labels_from_image(field.image)}
    if data_set == "chula":
        return {
            "points, marked cells": lambda field: labels_from_points(
                field.image, field.points, add_border_cells=False
            ),
            "points": lambda field: labels_from_points(field.image, field.points),
            "points and visible": lambda field: labels_from_points(
                field.image, field.points, add_unmarked_cells=True
            ),
        } | image
    return {
        "boxes": lambda field: labels_from_boxes(field.image, field.boxes),
        "box centres": lambda field: labels_from_points(field.image, (field.boxes[:, :2] + field.boxes[:, 2:]) / 2),
        "centroids": lambda field: labels_from_points(field.image, centroids(field.truth), add_border_cells=False),
    } | image


def measure(name: str, task: Callable[[Field], CellLabels], field: Field) -> Outcome:
    start = time.process_time()
    cells = task(field)
    seconds = time.process_time() - start
    matches = match(label_ious(cells.labels, field.truth), 0.5)
    right = np.zeros(len(cells.source), np.bool_)
    right[matches.pairs[:, 0]] = True
    missed = np.ones(int(field.truth.max(initial=0)), np.bool_)
    missed[matches.pairs[:, 1]] = False
    if name.endswith("marked cells"):
        missed &= marked(field.truth, field.points)
    return Outcome(int(missed.sum()), matches.ious, right, cells.confidence, seconds)


def summarise(outcomes: list[Outcome]) -> dict[str, float]:
    right = np.concatenate([outcome.right for outcome in outcomes])
    confidence = np.concatenate([outcome.confidence for outcome in outcomes])
    least = np.argsort(confidence, kind="stable")[: max(1, round(LEAST_CERTAIN * len(confidence)))]
    errors, hits = int((~right).sum()), int(right.sum())
    missed = sum(outcome.false_negatives for outcome in outcomes)
    ious = np.concatenate([outcome.ious for outcome in outcomes])
    return {
        "images": len(outcomes),
        "F1": 2 * hits / max(2 * hits + errors + missed, 1),
        "IoU": float(ious.mean()) if len(ious) else 0.0,
        "cells": len(right),
        "errors": errors,
        "missed": missed,
        "in least certain": float((~right[least]).sum() / max(errors, 1)),
        "seconds": float(np.median([outcome.seconds for outcome in outcomes])),
    }


def rows(root: Path, split: str, limit: int | None) -> Iterator[dict[str, Any]]:
    for data_set in ("bbbc041seg", "chula"):
        folder = root / data_set
        if not folder.is_dir():
            print(f"{folder} is missing; skipped", file=sys.stderr)
            continue
        path = folder / "boxes.json"
        boxes = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        outcomes: dict[str, list[Outcome]] = {name: [] for name in tasks(data_set)}
        for image in names(folder, split)[:limit]:
            field = read_field(folder, image, boxes)
            for name, task in tasks(data_set).items():
                outcomes[name].append(measure(name, task, field))
        for name, results in outcomes.items():
            if results:
                yield {"data set": data_set, "from": name} | summarise(results)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.environ.get("SMEARSYNTH_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(root), metavar="FOLDER", help="folder of the data sets")
    parser.add_argument("--split", choices=("train", "test", "all"), default="all", help="default: all")
    parser.add_argument("--limit", type=int, metavar="N", help="number of images per data set; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    results = []
    header = ("data set", "from", "images", "F1@0.5", "IoU", "cells", "errors", "missed", "in least 5 %", "s/image")
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for row in rows(options.data, options.split, options.limit):
        results.append(row)
        texts = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
        print("| " + " | ".join(texts) + " |", flush=True)
    if options.json:
        print(json.dumps({"split": options.split, "rows": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
