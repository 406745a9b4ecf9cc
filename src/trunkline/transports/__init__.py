"""How it travels: HTTP (ASGI), stdio and in memory, in both eras. Thin shells of the same shape."""
