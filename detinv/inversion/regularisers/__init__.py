"""Priors on images: functions of the centred pixels, one value per image, not divided by area."""
