"""Placement of the cells of a synthetic smear: shape, pose, centre, class and colour of each cell, without pixels.

`ring_layout` is the distribution of the paper, exact and compiled; `uniform_layout` is its baseline;
`contact_layout` uses parameters that `smearsynth.layout.contact.fitting` fits to real smears. Each returns a
`Layout`, which `smearsynth.layout.painting` turns into labels. `smearsynth.layout.figure4` draws the paper's
Figure 4.
"""

from smearsynth.layout.contact.parameters import ContactParameters, InteractionParameters, SmearParameters
from smearsynth.layout.contact.sampler import contact_layout
from smearsynth.layout.record import Layout
from smearsynth.layout.ring import ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace

__all__ = [
    "ContactParameters",
    "InteractionParameters",
    "Layout",
    "SmearParameters",
    "Workspace",
    "contact_layout",
    "ring_layout",
    "uniform_layout",
]
