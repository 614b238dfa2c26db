"""Pictures of layouts, images and detections: arrays in, arrays out, nothing is logged or saved."""
