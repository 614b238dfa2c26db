"""Results read from and written to files."""
