"""Parts that the heads of detectors share, whatever the library."""
