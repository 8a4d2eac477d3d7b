"""Fine-tuning: a training whose generator and encoder begin with the weights of a finished model."""

from __future__ import annotations

import torch
from torch import Tensor

from smearsynth.errors import OptionError
from smearsynth.synthesis.config import NetworkConfig
from smearsynth.synthesis.model.synthesizer import Synthesizer
from smearsynth.synthesis.training.state import TrainingState


def initialise_from(state: TrainingState, pretrained: Synthesizer) -> None:
    """Give a fresh state the generator and the encoder of a model, and its hash; discriminators stay as they are.

    Parameters
    ----------
    state : TrainingState
        Before its first step, of the networks of the model (`Preset.initialised_from`). Its classes may be others.
    pretrained : Synthesizer

    Raises
    ------
    OptionError
        When the networks differ in more than their classes.
    """
    own, its = state.translator.generator.config, pretrained.config.network
    weights = translated(pretrained.generator.state_dict(), its, own.class_names)
    for translator in (state.translator, state.average):
        try:
            translator.generator.load_state_dict(weights)
            translator.encoder.load_state_dict(pretrained.encoder.state_dict())
        except RuntimeError:
            raise OptionError(
                "the preset has other networks than the model to start with; take Preset.initialised_from"
            ) from None
    state.pretrained = pretrained.hash


def translated(
    weights: dict[str, Tensor], config: NetworkConfig, class_names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Weights of a generator for other classes.

    What enters with a class is taken from the class of the same name, and for a new class from the mean of all: its
    cells are painted as cells of the average class before the first step.

    Parameters
    ----------
    weights : dict of str to tensor
        Of a `Generator`, by name.
    config : NetworkConfig
        Of that generator.
    class_names : tuple of str
        The cell classes wanted.

    Returns
    -------
    dict of str to tensor
    """
    names, cells = config.class_names, range(1, 1 + len(config.class_names))
    sources = [[0]]  # the background; then for every channel of condition and styles those that it is the mean of
    sources += [[1 + names.index(name)] if name in names else list(cells) for name in class_names]
    sources += [[k] for k in range(1 + len(names), config.condition_channels + config.style_channels)]
    found = {}
    for name, weight in weights.items():
        if name == "first.conv.weight" or name.endswith("modulate.weight"):
            before = 0
        elif name == "mix.weight":
            before = config.filters
        else:
            found[name] = weight
            continue
        entering = [weight[:, [before + k for k in source]].mean(1) for source in sources]
        found[name] = torch.cat([weight[:, :before], torch.stack(entering, 1)], 1)
    return found
