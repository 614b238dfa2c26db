"""Training of the bundled detectors, so that anyone can train them again."""
