"""The first copy of a slot's rows, and the stream that keeps it up."""
