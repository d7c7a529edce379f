"""The Postgres wire protocol: bytes to messages and back. Values in, values out."""
