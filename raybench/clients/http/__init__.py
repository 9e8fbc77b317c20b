"""The servers' HTTP interfaces: connections, statuses, and what travels over them."""
