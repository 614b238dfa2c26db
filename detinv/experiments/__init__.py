"""The paper's experiments, one file each: protocols, which import what they need and never each other."""
