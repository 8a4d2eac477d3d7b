"""Where the cells of a synthetic smear go: shape, pose, centre, class and colour of each, and no pixels yet.

`ring_layout` is the paper's law of centres, exact and compiled; `uniform_layout` what it compares with. Both
return a `Layout`; `smearsynth.masks` paints it. `smearsynth.layout.explain` draws the paper's Figure 4.
"""

from smearsynth.layout.layouts import Layout, ring_layout, uniform_layout
from smearsynth.layout.workspace import Workspace

__all__ = ["Layout", "Workspace", "ring_layout", "uniform_layout"]
