from __future__ import annotations

from pathlib import Path

import pytest

from smearsynth.errors import DataError
from smearsynth.labelling.record import CELL_FILE, LabelledCell, read_cells, write_cells


def test_cells_are_written_in_order_and_read_back(tmp_path: Path) -> None:
    cells = [
        LabelledCell("b", 1, "rbc, normal", 0.5, "box", (1, 2, 3, 4)),
        LabelledCell("a", 2, "wbc", 0.25, "image", (0, 0, 9, 9)),
        LabelledCell("a", 1, "wbc", 1.0, "outline", (5, 0, 9, 9)),
    ]
    write_cells(tmp_path, cells)
    assert read_cells(tmp_path) == {"a": [cells[2], cells[1]], "b": [cells[0]]}
    assert read_cells(tmp_path / "none") == {}


def test_a_damaged_file_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / CELL_FILE).write_text("image,instance\na,one\n")
    with pytest.raises(DataError, match="is damaged"):
        read_cells(tmp_path)
