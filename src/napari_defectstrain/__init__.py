"""Strain of single-atom defects from ADF-STEM images of 2D crystals: a napari plugin."""

__version__ = "0.1.0"
