"""After the commit or an abort: the soak, the way back, cleaning up."""
