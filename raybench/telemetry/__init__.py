"""What the servers cost while they are loaded; knows no Ray."""
