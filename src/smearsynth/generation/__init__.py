"""Generation of synthetic smears: streams in memory, folders on disk, and recipes to generate a smear again."""
