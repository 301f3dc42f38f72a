"""Our own files: the packed model with its sealed header and checksums, and the cache folder that keeps them."""
