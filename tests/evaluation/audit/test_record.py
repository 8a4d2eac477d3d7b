"""The audit record: sentences that agree with the numbers, intervals, and records of format 1."""

import json
from pathlib import Path

import pytest

from smearsynth.evaluation.audit.record import Audit, CopiedSmear, fraction_interval

RESULTS = Path(__file__).resolve().parents[3] / "docs" / "results"


def test_a_record_of_format_1_is_read():
    former = json.loads((RESULTS / "audit-chula.json").read_text())
    current = Audit.model_validate_json((RESULTS / "audit-chula.json").read_text())
    for name, former_name in (
        ("flagged_fraction", "flagged_share"),
        ("margin", "lead"),
        ("held_out_margin", "held_out_lead"),
        ("controls", "planted"),
        ("controls_detected", "planted_caught"),
    ):
        assert getattr(current, name) == former[former_name]
    assert [list(pair) for pair in current.overlapping_smears] == former["seen_again"]
    for pair, former_pair in zip(current.pairs, former["pairs"], strict=True):
        assert (pair.margin, pair.rotation) == (former_pair["lead"], former_pair["turn"])
    assert Audit.model_validate_json(current.model_dump_json()) == current


def test_a_copied_smear_of_format_1_is_read(clean_audit):
    record = json.loads(clean_audit.model_dump_json())
    copy = {"synthetic": "a", "training": "b", "cells": 3, "of": 9, "turn": 90.0, "mirrored": False}
    result = Audit.model_validate({**record, "copied_smears": [copy]})
    assert (result.copied_smears[0].compared_cells, result.copied_smears[0].rotation) == (9, 90.0)


def test_the_verdict_compares_the_fraction_with_the_false_alarms(clean_audit):
    def verdict(fraction, interval):
        changes = {"flagged_fraction": fraction, "interval": interval, "false_alarms": 0.036}
        return clean_audit.model_copy(update=changes).verdict()

    above = verdict(0.039, (0.02, 0.06))
    assert "3.9 %, 95 % interval" in above
    assert "the fraction of held-out real cells is 3.6 %: the difference is within chance." in above
    assert above.startswith("No sign of memorisation.")
    assert "chance" not in verdict(0.01, (0.005, 0.02))
    assert "more than expected by chance" in verdict(0.2, (0.1, 0.3))


def test_a_low_detection_rate_is_a_warning(clean_audit):
    assert "may miss copies" not in clean_audit.verdict()
    weak = clean_audit.model_copy(update={"controls_detected": 0.9})
    assert not weak.reliable
    assert "detects 90.0 % of 100 positive controls" in weak.verdict()
    assert weak.verdict().endswith("The audit may miss copies.")


def test_many_copied_smears_are_counted(clean_audit):
    copies = tuple(
        CopiedSmear(synthetic=f"a{k}", training="b", cells=3, compared_cells=9, rotation=0, mirrored=False)
        for k in range(10)
    )
    text = clean_audit.model_copy(update={"memorised": True, "copied_smears": copies}).verdict()
    assert "10 synthetic smears repeat cells" in text
    assert "a7 (3 of 9 cells as in b, rotated by 0°); and 2 more." in text


def test_the_interval_covers_the_fraction():
    low, high = fraction_interval(3, 200)
    assert 0 < low < 0.015 < high < 0.05
    assert (low, high) == pytest.approx((0.0031, 0.0432), abs=1e-4)
    assert fraction_interval(0, 10)[0] == 0
    assert fraction_interval(10, 10)[1] == 1
