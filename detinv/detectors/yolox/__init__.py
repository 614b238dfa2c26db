"""YOLOX: a decoupled head with objectness, trained with SimOTA."""
