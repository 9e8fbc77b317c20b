"""Ray's home. Nothing is imported here: a worker's process shall hold what it sends with, and not the driver."""
