"""Copies of frozen detectors that compute the same with less work."""
