"""Networks that map images (B, C, H, W) to embeddings (B, D)."""
