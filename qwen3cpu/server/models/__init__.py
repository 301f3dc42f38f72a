"""The models of a server: which ones it offers, and which of them are in memory for whom."""
