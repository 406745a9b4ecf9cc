"""What outlives a process and is shared by replicas: SQLite for one machine, PostgreSQL for many."""
