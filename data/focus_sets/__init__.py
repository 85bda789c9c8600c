"""Published sets of focused and defocused images: one file each, from their layout to rows."""
