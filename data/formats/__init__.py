"""One door a format: what lies in a file, and how boxes of it are read and written."""
