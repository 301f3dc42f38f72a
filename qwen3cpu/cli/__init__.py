"""The command `qwen3cpu`: one file for each subcommand. main.py parses the command line and sets the exit code."""
