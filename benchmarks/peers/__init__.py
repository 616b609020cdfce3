"""What a user could build instead, each in an environment of its own; nothing here is of the service."""
