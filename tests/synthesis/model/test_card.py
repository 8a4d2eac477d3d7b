"""Model card: style fidelity and text."""

from __future__ import annotations

import numpy as np
import pytest

from smears import analytic_smear, partly_annotated, random_smear
from smearsynth.smear import Smear
from smearsynth.synthesis.model.card import StyleFidelity, mean_colours, model_card
from smearsynth.synthesis.model.provenance import DataSource
from smearsynth.synthesis.model.synthesizer import Synthesizer


def test_style_fidelity_of_shifted_muted_lost_and_inverted_colours() -> None:
    rng = np.random.default_rng(0)
    real = rng.uniform(100, 220, (12, 2, 3))
    shifted = StyleFidelity.of_colours(real, real + 4)
    assert shifted.correlation == pytest.approx(np.ones((2, 3)))
    assert shifted.spread == pytest.approx(np.ones((2, 3)))
    assert shifted.error == pytest.approx(np.full((2, 3), 4.0))
    muted = StyleFidelity.of_colours(real, 0.1 * real)
    assert muted.correlation == pytest.approx(np.ones((2, 3)))
    assert muted.spread == pytest.approx(np.full((2, 3), 0.1))
    lost = StyleFidelity.of_colours(real, rng.uniform(150, 151, real.shape))
    assert np.abs(lost.correlation).max() < 0.8
    assert lost.spread.max() < 0.05
    inverted = StyleFidelity.of_colours(real, 255 - real)
    assert inverted.correlation == pytest.approx(-np.ones((2, 3)))


def test_style_fidelity_skips_smears_without_cells_or_background(tiny: Synthesizer) -> None:
    no_cells = analytic_smear((64, 64), [], name="no_cells")
    no_background = Smear(no_cells.image, np.ones((64, 64), np.int32), np.zeros(1, np.int64))
    fidelity = StyleFidelity.measure(
        tiny, [no_cells, no_background, random_smear(0), random_smear(1), random_smear(2)]
    )
    assert fidelity.smears == 3
    assert np.isfinite(fidelity.correlation).all()
    smear = random_smear(0)
    cells = smear.labels > 0
    assert mean_colours(smear.image, cells)[1] == pytest.approx(smear.image[cells].mean(0))


def test_card_has_source_and_limits_and_escapes_names(tiny: Synthesizer) -> None:
    source = DataSource(name="a|b\nc", smears=5, licence="MIT", citation="Doe | Roe, 2020")
    model = Synthesizer(
        tiny.config.model_copy(update={"data": source}),
        tiny.generator,
        tiny.encoder,
        tiny.styles,
        tiny.statistics,
        tiny.shapes,
    )
    unknown = StyleFidelity.of_colours(np.zeros((1, 2, 3)), np.ones((1, 2, 3)))
    card = model_card(model, unknown, "")
    assert "| data | a\\|b c, 5 smears, scale 1 |" in card
    assert "| data licence | MIT |" in card
    assert "Its images are synthetic" in card
    assert "not for diagnosis" in card
    assert "| background | unknown, unknown, unknown | unknown, unknown, unknown | 1.0, 1.0, 1.0 |" in card
    assert "| field | 96×96 px" in card


def test_the_background_of_a_partly_annotated_smear_is_its_annotated_one() -> None:
    smear = partly_annotated(analytic_smear(), 48)  # a cell without a label at column 60
    annotated = mean_colours(smear.image, smear.labels > 0, smear.background())
    assert annotated[0].tolist() == pytest.approx(smear.image[0, 0].tolist())
    assert mean_colours(smear.image, smear.labels > 0)[0][1] < annotated[0][1] - 1
