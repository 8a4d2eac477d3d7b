"""Fine-tuning: initialise generator and encoder with the weights of a trained model."""

from __future__ import annotations

import torch
from torch import Tensor

from smearsynth.errors import OptionError
from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.state import TrainingState


def initialise_from(state: TrainingState, pretrained: Synthesizer) -> None:
    """Copy generator and encoder of a model into a new state and record its hash; the discriminators do not change.

    Parameters
    ----------
    state : TrainingState
        Before its first step, with the networks of the model (`Preset.initialised_from`). Its classes may differ.
    pretrained : Synthesizer

    Raises
    ------
    OptionError
        If the networks differ in more than their classes.
    """
    class_names = state.translator.generator.config.class_names
    weights = adapt_to_classes(pretrained.generator.state_dict(), pretrained.config.network, class_names)
    for translator in (state.translator, state.average):
        try:
            translator.generator.load_state_dict(weights)
            translator.encoder.load_state_dict(pretrained.encoder.state_dict())
        except RuntimeError:
            raise OptionError(
                "the networks of the preset differ from those of the pretrained model; use Preset.initialised_from"
            ) from None
    state.pretrained = pretrained.hash


def adapt_to_classes(
    weights: dict[str, Tensor], config: NetworkConfig, class_names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Return the weights of a generator for other cell classes.

    Input weights of a class come from the class with the same name. A new class gets the mean of all classes, so
    that its cells initially look like those of an average class.

    Parameters
    ----------
    weights : dict of str to tensor
        State dict of a `Generator`.
    config : NetworkConfig
        Configuration of that generator.
    class_names : tuple of str
        New cell classes.

    Returns
    -------
    dict of str to tensor
    """
    names, cells = config.class_names, range(1, 1 + len(config.class_names))
    # For each channel of conditions and styles, the former channels whose mean it is. Channel 0 is the background.
    sources = [[0]]
    sources += [[1 + names.index(name)] if name in names else list(cells) for name in class_names]
    sources += [[k] for k in range(1 + len(names), config.condition_channels + config.style_channels)]
    adapted = {}
    for name, weight in weights.items():
        if name == "first.conv.weight" or name.endswith("modulate.weight"):
            first = 0
        elif name == "mix.weight":
            first = config.filters
        else:
            adapted[name] = weight
            continue
        inputs = [weight[:, [first + k for k in source]].mean(1) for source in sources]
        adapted[name] = torch.cat([weight[:, :first], torch.stack(inputs, 1)], 1)
    return adapted
