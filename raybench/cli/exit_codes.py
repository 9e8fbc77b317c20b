"""Exit codes that several commands share."""

FAILED = 1
WRONG_USAGE = 2
MISSED = 99  # a threshold was missed, as k6 reports it
INTERRUPTED = 130  # 128 + SIGINT
