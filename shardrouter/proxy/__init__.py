"""The proxy: a Postgres server to every client."""
