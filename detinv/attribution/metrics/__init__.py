"""How good a map is: where it lies, and whether the detection depends on what it marks."""
