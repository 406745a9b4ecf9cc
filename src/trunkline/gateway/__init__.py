"""The gateway: many upstream servers behind one endpoint."""
