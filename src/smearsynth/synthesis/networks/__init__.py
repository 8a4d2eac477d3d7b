"""Neural networks: generator, encoder, discriminators and perceptual features."""
