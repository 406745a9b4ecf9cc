"""The migrations of the branch `core`."""
