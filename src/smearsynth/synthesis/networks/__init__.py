"""Generator, encoder, discriminators and perceptual features."""
