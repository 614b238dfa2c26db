"""Pixels that a detector reads as the layout."""
