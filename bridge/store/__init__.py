"""What must survive a kill: SQLite, WAL, `synchronous=FULL`, many rows a commit."""
