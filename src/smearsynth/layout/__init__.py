"""Where the cells of a synthetic smear go: shape, pose, centre, class and colour of each, and no pixels yet.

`ring_layout` is the paper's law of centres, exact and compiled; `uniform_layout` what it compares with;
`contact_layout` the law fitted to data (`smearsynth.layout.fitting`). Each returns a `Layout`;
`smearsynth.masks` paints it. `smearsynth.layout.explain` draws the paper's Figure 4.
"""

from smearsynth.layout.contact import contact_layout
from smearsynth.layout.law import ContactForm, ContactLaw, SmearLaw
from smearsynth.layout.layouts import Layout, ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace

__all__ = [
    "ContactForm",
    "ContactLaw",
    "Layout",
    "SmearLaw",
    "Workspace",
    "contact_layout",
    "ring_layout",
    "uniform_layout",
]
