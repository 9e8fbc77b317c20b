"""What was observed: the record of a request and of a trial, and the results folder."""
