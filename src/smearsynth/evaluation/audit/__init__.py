"""Memorisation audit: are synthetic cells copies of training cells?"""
