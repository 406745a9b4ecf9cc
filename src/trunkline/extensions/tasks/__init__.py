"""Durable tasks (`io.modelcontextprotocol/tasks`): call now, fetch later."""
