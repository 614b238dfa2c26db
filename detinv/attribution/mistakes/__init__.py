"""What a detector got wrong, and at which step of its inference an object was lost."""
