"""A worker sends load on its lanes; it knows no Ray."""
