"""An OpenAI-compatible server with continuous batching; `qwen3cpu serve` starts it. Needs the extra `[server]`.

app.py has the routes, api/ one file for each endpoint. models/ lends the models to requests.
scheduling/scheduler.py decides which tokens share a forward pass, scheduling/pace.py how many.
"""
