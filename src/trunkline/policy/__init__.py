"""Who may do what, and how much: limits and the queues before them."""
