"""Sweeps: one command for every combination of values, run by a launcher, kept in one folder."""
