"""Using weights on whole volumes."""
