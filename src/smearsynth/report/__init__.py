"""Show smears to people: labels drawn over images, and a contact sheet to judge synthetic smears by."""

from smearsynth.report.findings import disagreements_figure, pairs_figure
from smearsynth.report.overlays import overlay, write_overlay_png
from smearsynth.report.quiz import write_quiz
from smearsynth.report.sheet import write_contact_sheet

__all__ = [
    "disagreements_figure",
    "overlay",
    "pairs_figure",
    "write_contact_sheet",
    "write_overlay_png",
    "write_quiz",
]
