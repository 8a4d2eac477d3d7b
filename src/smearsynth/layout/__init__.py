"""Where the cells of a synthetic smear go: shape, pose, centre, class and colour of each, and no pixels yet.

`ring_layout` is the paper's law of centres, exact and compiled; `uniform_layout` what it compares with;
`contact_layout` the law fitted to data (`smearsynth.layout.contact.fitting`). Each returns a `Layout`;
`smearsynth.layout.labels` paints it. `smearsynth.layout.figure4` draws the paper's Figure 4.
"""

from smearsynth.layout.contact.parameters import InteractionParameters, ContactParameters, SmearParameters
from smearsynth.layout.contact.sampler import contact_layout
from smearsynth.layout.record import Layout
from smearsynth.layout.ring import ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace

__all__ = [
    "InteractionParameters",
    "ContactParameters",
    "Layout",
    "SmearParameters",
    "Workspace",
    "contact_layout",
    "ring_layout",
    "uniform_layout",
]
