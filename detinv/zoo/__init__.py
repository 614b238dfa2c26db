"""The bundled detectors: how they are built, and their weights."""
