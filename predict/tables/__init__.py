"""Tables of what was found: objects, structures, regions; from labels of any size."""
