"""What requests carry: where items come from, and each worker's shard of them."""
