"""What all methods of attribution share: objects, questions, passes, gradients."""
