"""luxvox: a 3D foundation model for light-sheet fluorescence microscopy."""
