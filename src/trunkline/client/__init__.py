"""The caller's side: connect to any MCP server, of any era, over any transport."""
