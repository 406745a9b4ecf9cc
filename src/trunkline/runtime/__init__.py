"""The asyncio life around the engine, once for all transports."""
