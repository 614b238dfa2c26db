"""Adapters of the YOLO family from ultralytics."""
