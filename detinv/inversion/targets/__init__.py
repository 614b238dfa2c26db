"""Pseudo-targets: the smallest change of the raw outputs that gives the layout. Pure functions without gradient."""
