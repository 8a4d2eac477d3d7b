"""The synthesizer, its model folder, model card and export."""
