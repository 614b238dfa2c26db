"""What a detector makes of images that are covered in part."""
