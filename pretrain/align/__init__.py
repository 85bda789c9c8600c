"""Image-text alignment for an encoder that holds still."""
