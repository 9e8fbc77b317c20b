"""Ray's home. Nothing of it is imported here: a worker's process shall hold what it sends with, and not the driver."""

import os

os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a call after the end would start a Ray, or join one of others
