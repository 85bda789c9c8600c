"""luxvox in napari: predict what is on the screen, correct it with the brush, learn from it."""
