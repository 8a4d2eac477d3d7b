"""Copy the train split of a data set to ``gpu-data/`` for training on a remote GPU.

    python benchmarks/gpu/pack.py DATA

The folder is ignored by git. It contains images, labels, split table and licence of the train split (under 60 MB).
"""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path


def main(data: Path, out: Path) -> None:
    """Copy the train split of `data` to ``out/<name of data>``."""
    target = out / data.name
    for part in ("images", "instances"):
        (target / part).mkdir(parents=True, exist_ok=True)
    with (data / "split.csv").open(newline="") as file:
        names = [row["image"] for row in csv.DictReader(file) if row["split"] == "train"]
    for name in names:
        for part in ("images", "instances"):
            for source in (data / part).glob(f"{name}.*"):
                shutil.copy(source, target / part)
    (target / "split.csv").write_text("image,split\n" + "".join(f"{name},train\n" for name in names))
    if (data / "LICENSE").exists():
        shutil.copy(data / "LICENSE", target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: {len(names)} smears, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path("gpu-data"))
