"""The store: SQL, and only SQL. One module of queries a resource; none of them commits."""
