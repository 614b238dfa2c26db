"""Files from which an interrupted inversion is resumed."""
