"""Batches: reading what a manifest or a prefix names, making jobs of it bit by bit, writing what came of them."""
