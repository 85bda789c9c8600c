"""One task a file: its head, loss, metrics of a row, and picture."""
