"""A worker process: clients at the door, what the worker tells, what it watches."""
