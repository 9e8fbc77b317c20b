"""Messages of our own, compiled by `make proto`."""
