"""Readers and writers of annotated smears, one module per annotation format."""

from smearsynth.formats.base import ClassChoice, Entry, Reader, Writer
from smearsynth.formats.registry import READ_FORMATS, WRITE_FORMATS, detect_format, open_reader, open_writer

__all__ = [
    "READ_FORMATS",
    "WRITE_FORMATS",
    "ClassChoice",
    "Entry",
    "Reader",
    "Writer",
    "detect_format",
    "open_reader",
    "open_writer",
]
