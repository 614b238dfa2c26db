"""Why a detector decided so: maps of what a single class or box side depends on in an image."""
