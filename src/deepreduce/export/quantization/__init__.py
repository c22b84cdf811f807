"""Quantization, from floating point to the plan's integers: ranges are calibrated, then fractions, ring bits and
rescales chosen.
"""
