"""Show smears to people: labels drawn over images, and a contact sheet to judge synthetic smears by."""

from smearsynth.report.overlays import overlay, write_overlay_png
from smearsynth.report.sheet import write_contact_sheet

__all__ = [
    "overlay",
    "write_contact_sheet",
    "write_overlay_png",
]
