from __future__ import annotations

from smearsynth.formats.reading import ReadingReport


def test_a_smear_that_is_read_twice_counts_once() -> None:
    report = ReadingReport()
    for _ in range(2):
        report.record("a", 11, {"cells outside the image": 16, "texts": 0}, ["turned"])
    report.record("b", 5, {"cells outside the image": 1})
    assert (report.cells, report.smears) == (16, 2)
    assert report.left_out == {"cells outside the image": 17}
    assert report.notes() == ["left out: 17 cells outside the image (a, b)", "turned (a)"]


def test_remarks_of_many_smears_are_one_line() -> None:
    report = ReadingReport()
    for k in range(9):
        report.record(f"s{k}", 1, remarks=["turned"])
    assert report.remarks() == ["turned (s0, s1, s2 and 6 more smears)"]
