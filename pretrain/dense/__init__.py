"""Stage B of pretraining: the dense model learns from simulated volumes with perfect labels."""
