"""Check the contents of a built wheel and sdist: python benchmarks/check_package.py DIST.

The wheel holds the package with the shipped model and no tests or benchmarks. The sdist holds what is needed to
build and test the package.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

REQUIRED_IN_WHEEL = (
    "smearsynth/__init__.py",
    "smearsynth/py.typed",
    "smearsynth/default_model/weights.safetensors",
)
REQUIRED_IN_SDIST = (
    "pyproject.toml",
    "Makefile",
    "README.md",
    "LICENSE",
    "tests/conftest.py",
    "src/smearsynth/__init__.py",
)
FORBIDDEN_IN_WHEEL = ("tests/", "benchmarks/", "docs/")


def main() -> int:
    """Print the sizes, and what is missing or too much; return 1 in that case."""
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    in_wheel = zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        in_sdist = [name.partition("/")[2] for name in archive.getnames()]
    problems = [f"wheel: no {name}" for name in REQUIRED_IN_WHEEL if name not in in_wheel]
    problems += [f"sdist: no {name}" for name in REQUIRED_IN_SDIST if name not in in_sdist]
    problems += [f"wheel: {name}" for name in in_wheel if name.startswith(FORBIDDEN_IN_WHEEL)]
    problems += [f"sdist: {name}" for name in in_sdist if "__pycache__" in name]
    for path, names in ((wheel, in_wheel), (sdist, in_sdist)):
        print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
