"""Acquisition model: illumination, focus, noise, debris and stain of a microscope field."""
