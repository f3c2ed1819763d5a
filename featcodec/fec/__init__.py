"""Forward error correction: LDPC codes, blocks of them with checksums, and rates by channel."""
