"""Report of what was read from a data set: number of cells, what was left out and why, and remarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

_MAX_EXAMPLES = 3


class ReadingReport:
    """What a reader found in the smears that it has decoded so far.

    Each smear is counted once, however often it is read.

    Examples
    --------
    >>> report = ReadingReport()
    >>> report.record("a", 11, {"outside the image": 16})
    >>> report.record("b", 27, remarks=["EXIF orientation 3 applied"])
    >>> report.cells, dict(report.left_out)
    (38, {'outside the image': 16})
    >>> report.notes()
    ['left out: 16 outside the image (a)', 'EXIF orientation 3 applied (b)']
    """

    def __init__(self) -> None:
        self._cells: dict[str, int] = {}
        self._left_out: dict[str, dict[str, int]] = {}
        self._remarks: dict[str, tuple[str, ...]] = {}

    def record(
        self, name: str, cells: int, left_out: Mapping[str, int] | None = None, remarks: Iterable[str] = ()
    ) -> None:
        """Record a smear.

        Parameters
        ----------
        name : str
            Name of the smear.
        cells : int
            Number of cells that were read.
        left_out : mapping of str to int, optional
            Number of marks that were not read, by reason, such as "outside the image".
        remarks : iterable of str
            Sentences on this smear; those of different smears that are the same are joined.
        """
        self._cells[name] = cells
        self._left_out[name] = {reason: count for reason, count in (left_out or {}).items() if count}
        self._remarks[name] = tuple(remarks)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return sum(self._cells.values())

    @property
    def smears(self) -> int:
        """Number of smears."""
        return len(self._cells)

    @property
    def left_out(self) -> Counter[str]:
        """Number of marks that were not read, by reason."""
        return sum((Counter(counts) for counts in self._left_out.values()), Counter())

    def notes(self) -> list[str]:
        """Return one line per reason and per remark, with the names of the first smears."""
        notes = []
        for reason, count in self.left_out.items():
            names = [name for name, counts in self._left_out.items() if reason in counts]
            notes.append(f"left out: {count:,} {reason} ({_examples(names)})")
        return notes + self.remarks()

    def remarks(self) -> list[str]:
        """Return one line per remark, with the names of the first smears."""
        by_remark: dict[str, list[str]] = {}
        for name, remarks in self._remarks.items():
            for remark in remarks:
                by_remark.setdefault(remark, []).append(name)
        return [f"{remark} ({_examples(names)})" for remark, names in by_remark.items()]


def _examples(names: list[str]) -> str:
    more = len(names) - _MAX_EXAMPLES
    return ", ".join(names[:_MAX_EXAMPLES]) + (f" and {more} more smears" if more > 0 else "")
