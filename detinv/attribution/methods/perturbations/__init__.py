"""Methods that change the image and look what becomes of the scalar."""
