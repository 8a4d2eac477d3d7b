"""Command line of smearsynth; each command parses options, calls one public function and prints the result."""
