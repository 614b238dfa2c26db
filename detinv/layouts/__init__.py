"""What we want to see: layouts, where they come from, and what a detector reported."""
