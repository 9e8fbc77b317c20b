"""gRPC calls: metadata and control through grpcio, load over our own HTTP/2."""
