"""A copy of a frozen detector that gives the same with less work."""
