"""Who answers: dispatch, `Context`, `Principal`, the doors, sealed state. No asyncio."""
