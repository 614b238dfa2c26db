"""What an interrupted inversion goes on from."""
