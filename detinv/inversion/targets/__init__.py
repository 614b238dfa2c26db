"""Pseudo-targets: the smallest change of the current raw outputs that gives the layout. Pure functions, no gradient."""
