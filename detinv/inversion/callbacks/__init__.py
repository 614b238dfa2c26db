"""What happens around the steps of an inversion."""
