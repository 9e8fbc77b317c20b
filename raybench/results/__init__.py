"""What was observed: the record of a request and of a trial, and the results folder."""


class ResultsError(Exception):
    """A results folder that cannot be read or written: one sentence."""
