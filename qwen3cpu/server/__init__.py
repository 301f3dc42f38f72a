"""An OpenAI-compatible server with continuous batching; `qwen3cpu serve` starts it. Needs the extra `[server]`.

scheduler.py decides which tokens share a forward pass, pace.py how many; app.py has the routes, and beside it lies one
file for each endpoint.
"""
