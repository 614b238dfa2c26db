"""From pixels to raw, differentiable predictions, and from images to detections."""
