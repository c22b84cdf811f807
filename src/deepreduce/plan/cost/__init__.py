"""Predictions from a plan alone: bytes and rounds exactly (``traffic``), seconds as a model (``latency``)."""
