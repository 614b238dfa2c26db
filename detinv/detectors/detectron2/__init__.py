"""Adapters of Detectron2's detectors."""
