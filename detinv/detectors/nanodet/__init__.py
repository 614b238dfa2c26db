"""NanoDet: distances as distributions, scores that are the quality of a box as well, trained with ATSS."""
