"""Experiments on maps of what a decision depends on."""
