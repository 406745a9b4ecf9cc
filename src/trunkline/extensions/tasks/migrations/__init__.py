"""The migrations of the branch `tasks`."""
