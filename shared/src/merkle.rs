//! Merkle trees over 16 KiB blocks (BEP 52).
