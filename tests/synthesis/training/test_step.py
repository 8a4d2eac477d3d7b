"""Training step: which networks it updates, its losses and its precision."""

from __future__ import annotations

import pytest
import torch

from smears import partly_annotated, random_smear
from smearsynth.synthesis.config import preset
from smearsynth.synthesis.networks.noise import draw_noise
from smearsynth.synthesis.training.crops import CropBatch, draw_crops
from smearsynth.synthesis.training.loop import TrainingRun, fabric_for, train_networks
from smearsynth.synthesis.training.state import TrainingState
from smearsynth.synthesis.training.step import Step

SETTINGS = preset("tiny", steps=2, crop=(32, 32))
SMEARS = [random_smear(k) for k in range(2)]


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def run_step(state: TrainingState, batch: CropBatch, precision: str = "fp32") -> dict[str, torch.Tensor]:
    for optimiser in (state.optimiser_g, state.optimiser_d):
        optimiser.param_groups[0]["lr"] = 1e-3
    noise = draw_noise((1, 32, 32), SETTINGS.network.downs, torch.Generator().manual_seed(0))
    return Step(state, SETTINGS, fabric_for("cpu", precision), None)(batch, noise)


def test_step_updates_all_networks_but_not_the_average():
    state = TrainingState.fresh(SETTINGS)
    networks = (state.translator.generator, state.translator.encoder, state.discriminators)
    before, average = [weights(network) for network in networks], weights(state.average)
    losses = run_step(state, draw_crops(SMEARS, SETTINGS.training, 0))
    assert list(losses) == ["discriminator", "adversarial", "feature_matching", "colour"]
    assert all(torch.isfinite(loss) for loss in losses.values())
    for network, former in zip(networks, before, strict=True):
        assert any(not torch.equal(parameter, former[name]) for name, parameter in network.named_parameters())
        assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(parameter, average[name]) for name, parameter in state.average.named_parameters())


def test_step_with_precomputed_styles_does_not_update_the_encoder():
    state = TrainingState.fresh(SETTINGS)
    encoder, generator = weights(state.translator.encoder), weights(state.translator.generator)
    styles = [torch.rand(smear.count + 1, 3).numpy() for smear in SMEARS]
    run_step(state, draw_crops(SMEARS, SETTINGS.training, 0, styles=styles))
    assert all(torch.equal(p, encoder[name]) for name, p in state.translator.encoder.named_parameters())
    assert any(not torch.equal(p, generator[name]) for name, p in state.translator.generator.named_parameters())


def test_gradient_penalty_increases_the_loss_of_the_discriminators():
    batch = draw_crops(SMEARS, SETTINGS.training, 0)
    noise = draw_noise((1, 32, 32), SETTINGS.network.downs, torch.Generator().manual_seed(0))
    losses = [
        Step(TrainingState.fresh(settings), settings, fabric_for("cpu", "fp32"), None)(batch, noise)
        for settings in (SETTINGS, preset("tiny", steps=2, crop=(32, 32), r1=1000.0))
    ]
    assert losses[1]["discriminator"] > losses[0]["discriminator"]
    assert losses[1]["adversarial"].item() == pytest.approx(losses[0]["adversarial"].item())


def test_bf16_trains_weights_in_fp32(tmp_path):
    settings = preset("tiny", steps=2, crop=(32, 32), precision="bf16")
    run = TrainingRun(tmp_path, fabric_for("cpu", "bf16"), log_every=1)
    state = train_networks(SMEARS, settings, run)
    for module in (state.translator, state.discriminators, state.average):
        assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())
    assert state.translator.generator.mix.weight.dtype == torch.float32


def test_ignored_pixels_give_no_gradient_to_generator_and_encoder():
    state = TrainingState.fresh(SETTINGS)
    generator, encoder = weights(state.translator.generator), weights(state.translator.encoder)
    batch = draw_crops(SMEARS, SETTINGS.training, 0)
    losses = run_step(state, batch._replace(ignored=torch.ones_like(batch.labels, dtype=torch.bool)))
    assert losses["colour"] == 0
    assert all(torch.equal(p, generator[name]) for name, p in state.translator.generator.named_parameters())
    assert all(torch.equal(p, encoder[name]) for name, p in state.translator.encoder.named_parameters())


def test_an_unlabelled_cell_in_ignored_pixels_is_not_compared():
    batch = draw_crops(SMEARS, SETTINGS.training, 0)
    ignored = torch.zeros_like(batch.labels, dtype=torch.bool)
    ignored[:, 16:] = True
    dark = batch.pixels.clone()
    dark[:, 16:] = 0
    plain, marked = (
        run_step(TrainingState.fresh(SETTINGS), batch._replace(pixels=dark, ignored=mask))["colour"]
        for mask in (None, ignored)
    )
    assert marked < 0.6 * plain


@pytest.mark.parametrize("augmented", [0.0, 1.0])
def test_steps_with_ignored_pixels_train_a_label_aware_discriminator(augmented):
    settings = preset(
        "tiny",
        steps=2,
        crop=(32, 32),
        label_discriminator=True,
        label_weight=1.0,
        discriminator_augmentation=augmented,
    )
    batch = draw_crops([partly_annotated(random_smear(0, (32, 48)), 38)], settings.training, 1)
    if batch.ignored is None:
        batch = batch._replace(ignored=torch.zeros_like(batch.labels, dtype=torch.bool))
    batch.ignored[:, :, 28:] = True
    noise = draw_noise((1, 32, 32), settings.network.downs, torch.Generator().manual_seed(0))
    losses = Step(TrainingState.fresh(settings), settings, fabric_for("cpu", "fp32"), None)(batch, noise)
    assert "labels" in losses
    assert all(torch.isfinite(loss) for loss in losses.values())
