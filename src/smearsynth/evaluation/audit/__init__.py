"""Memorisation audit: a search for training cells among synthetic cells."""
