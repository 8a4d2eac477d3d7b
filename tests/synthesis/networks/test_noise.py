"""Noise inputs of the generator: distribution, and dependence on seed and position only."""

from __future__ import annotations

import pytest
import torch

from smearsynth.synthesis.networks.noise import draw_noise, field_noise

CPU = torch.device("cpu")


def test_noise_depends_on_its_random_generator_only():
    state = torch.get_rng_state()
    first, same, other = (draw_noise((2, 16, 24), 3, torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert [tuple(level.shape) for level in first] == [(2, 1, 4, 6), (2, 1, 8, 12), (2, 1, 16, 24)]
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[-1], other[-1])


def test_field_noise_depends_on_seed_and_position_only():
    field = field_noise(7, 3, slice(0, 128), slice(0, 160), CPU)
    window = field_noise(7, 3, slice(32, 96), slice(64, 160), CPU)
    assert [tuple(level.shape) for level in field] == [(1, 1, 32, 40), (1, 1, 64, 80), (1, 1, 128, 160)]
    for k, (field_level, window_level) in enumerate(zip(field, window, strict=True)):
        f = 4 >> k
        assert torch.equal(field_level[..., 32 // f : 96 // f, 64 // f : 160 // f], window_level)
    other = field_noise(8, 3, slice(0, 128), slice(0, 160), CPU)
    assert abs(torch.corrcoef(torch.stack([field[2].flatten(), other[2].flatten()]))[0, 1]) < 0.03


def test_field_noise_is_white_and_normal():
    noise = field_noise(3, 1, slice(0, 512), slice(0, 512), CPU)[0][0, 0]
    assert abs(noise.mean()) < 0.01
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert (noise**4).mean().item() == pytest.approx(3, abs=0.1)
    for a, b in ((noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1]), (noise[1:, 1:], noise[:-1, :-1])):
        assert abs((a * b).mean()) < 0.01
