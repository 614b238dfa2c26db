"""Methods that are made of features and the gradients with respect to them."""
