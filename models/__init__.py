"""The network: patches, positions in micrometres, encoder, decoders, text, losses, weights files."""
