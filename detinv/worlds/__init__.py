"""Procedural worlds: scenes whose every object, texture and position is known exactly."""
