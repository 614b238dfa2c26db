"""What heads of detectors have in common, whatever the library."""
