"""The package's own files: packed models with a sealed header and checksums, and the cache folder for them."""
