"""What sets the platform up on a machine. Nothing here is imported by the package."""
