"""A small MCP server over stdio, for tests: its tools work, fail, die, hang, and return other things than text.

    python mcp_tools.py [NAME OF ONE MORE TOOL]

Instead it may serve over a network (`--serve TRANSPORT PORT`), end at once (`--end MESSAGE`) or never be ready
(`--hang`).
"""

import os
import sys
import time


def serve(extra="", **network):
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Image
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("things")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def fail(reason: str) -> str:
        """It always fails."""
        raise ToolError(reason)

    @server.tool()
    def die() -> str:
        """End the process."""
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(3)

    @server.tool()
    def hang() -> str:
        """Do not answer."""
        time.sleep(1000)
        return ""

    @server.tool()
    def picture() -> list:
        """A text and an image."""
        return ["a dot", Image(data=b"\x89PNG" + bytes(96), format="png")]

    @server.tool()
    def process() -> str:
        """Number of this process, and what it finds in its environment."""
        return f"{os.getpid()} {os.environ.get('GREETING')} {os.environ.get('SECRET')}"

    if extra:
        server.add_tool(lambda: "again", name=extra, description="Say again.")
    server.run(**network)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--end"]:
        sys.exit(sys.argv[2])
    if sys.argv[1:2] == ["--hang"]:
        time.sleep(1000)
    if sys.argv[1:2] == ["--serve"]:
        serve(transport=sys.argv[2], port=int(sys.argv[3]))
    else:
        serve(*sys.argv[1:2])
