"""Volumes in, crops out: the doors, lists, normalisation, crops, banks, optics and simulation."""
