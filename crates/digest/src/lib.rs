//! SHA-1, SHA-256 and merkle trees, one stream or many side by side.
