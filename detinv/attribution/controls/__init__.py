"""Maps that know nothing of the detector; a measure of maps has to rank them below those that do."""
