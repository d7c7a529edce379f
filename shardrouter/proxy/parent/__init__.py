"""The parent process: who serves, what is asked of all workers, restarts, takeovers."""
