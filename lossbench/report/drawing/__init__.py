"""Figures: values that were computed elsewhere, as SVG."""
