"""Proofs that an adapter is right."""
