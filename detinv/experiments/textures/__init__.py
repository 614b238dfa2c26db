"""Ways to give an object another texture in its outline."""
