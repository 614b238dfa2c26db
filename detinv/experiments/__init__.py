"""The paper's experiments, one file each in `paper`, which import what they need and never each other."""
