"""What the proxy tells of itself: metrics, health, log."""
