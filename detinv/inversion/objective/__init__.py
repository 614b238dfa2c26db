"""Loss terms, and their weighted sum."""
