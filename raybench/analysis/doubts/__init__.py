"""Reasons not to trust a number."""
