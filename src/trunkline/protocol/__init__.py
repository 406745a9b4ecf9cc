"""What is said: messages, revisions, headers, framing. Sans-I/O: no sockets, no asyncio, no clock, no randomness."""
