"""How well detections agree with layouts, and what an image shows."""
