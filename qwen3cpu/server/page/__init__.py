"""The chat page: its files, and the work that the server does for it.

assets/ has what the browser gets. markdown.py turns an answer into plain data, of which the page makes elements; texts
of a model are never read as HTML. That work, and reading PDF files, runs in worker processes with limits (workers.py).
"""
