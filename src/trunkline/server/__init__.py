"""Python functions become tools, resources and prompts: the author's API, a `Provider` over functions."""
