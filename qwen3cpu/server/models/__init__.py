"""The models of a server: which ones it offers, which of them are in memory, and which requests use them."""
