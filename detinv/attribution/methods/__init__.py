"""Methods of attribution, one a file."""
