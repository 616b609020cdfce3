"""What the service tells of itself: metrics and logs, never pixels, file names or tags."""
