"""The detectors that come in the box: how they are built, and where their weights lie."""
