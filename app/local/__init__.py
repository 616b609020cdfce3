"""Films judged on this machine without a server: files in, what became of each out."""
