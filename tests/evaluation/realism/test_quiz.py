"""The quiz: the page does not show the kind of a picture, the key does."""

import csv
import re

import pytest

from smearsynth.errors import OptionError
from smearsynth.evaluation.realism.quiz import write_quiz


def test_the_page_hides_the_kinds_and_the_key_lists_them(smears, tmp_path):
    key = write_quiz(tmp_path / "q.html", smears[:6], smears[6:], crops=5, side=48, rng=3)
    page = (tmp_path / "q.html").read_text()
    rows = list(csv.DictReader(key.open()))
    assert page.count("<img") == len(rows) == 10
    assert [row["kind"] for row in rows].count("real") == 5
    assert [row["kind"] for row in rows] != sorted(row["kind"] for row in rows)
    real = {smear.name for smear in smears[:6]}
    assert all((row["smear"] in real) == (row["kind"] == "real") for row in rows)
    assert not any(smear.name in page for smear in smears)
    assert len(set(re.findall(r'width="(\d+)" height="(\d+)"', page))) == 1


def test_a_quiz_needs_smears_of_both_kinds(smears, tmp_path):
    with pytest.raises(OptionError, match="a quiz needs"):
        write_quiz(tmp_path / "none.html", smears[:2], [])
    assert not (tmp_path / "none.html").exists()
