"""Methods that derive a scalar with respect to the pixels."""
