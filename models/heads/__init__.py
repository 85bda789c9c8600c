"""From features to answers, one task a file."""
