"""The network: patches, positions in um, encoder, decoders, text, losses, weights files."""
