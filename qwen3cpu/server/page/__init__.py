"""The chat page: its files, and the work that the server does for it.

The browser gets the files in assets/. An answer is turned into plain data (markdown.py), from which the page makes
elements, so a model's text is never read as HTML. Rendering and reading PDF files run in worker processes with limits
(workers.py).
"""
