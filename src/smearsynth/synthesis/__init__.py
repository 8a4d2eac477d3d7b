"""The synthesizer: labels and styles to images, and how it is learned."""
