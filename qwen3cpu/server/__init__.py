"""An OpenAI-compatible server with continuous batching; `qwen3cpu serve` starts it. Needs the extra `[server]`.

The routes are in app.py, and each endpoint has a file in api/. The modules in models/ lend the models to requests.
Which tokens share a forward pass is decided in scheduling/scheduler.py, and how many in scheduling/pace.py.
"""
