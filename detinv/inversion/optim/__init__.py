"""Optimisers and learning-rate schedules for batches of images."""
