"""The paper's sentences about detectors that were trained on photographs, measured on the bundled ones."""
