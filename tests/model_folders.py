"""Model folders whose files are modified by a test."""

from __future__ import annotations

import hashlib
from pathlib import Path

FILES = (
    "config.json",
    "weights.safetensors",
    "styles.safetensors",
    "statistics.json",
    "shapes.safetensors",
    "layout.json",
    "acquisition.json",
    "colours.json",
    "training-smears.json",
)


def sign(folder: Path) -> None:
    """Update the checksums to the modified files."""
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in sorted(FILES)]
    (folder / "SHA256SUMS").write_text("".join(lines))
