"""Visual reports of smears: overlays of labels on images, and the contact sheet of synthetic smears.

The modules `html`, `overlays`, `plots` and `comparison` are shared by all reports of the package.
"""

from smearsynth.report.overlays import overlay, write_overlay_png
from smearsynth.report.sheet import write_contact_sheet

__all__ = [
    "overlay",
    "write_contact_sheet",
    "write_overlay_png",
]
