"""Tuning: which configurations to measure next, and what was shown; pure."""
