"""The tools of mcp_tools.py that need no library: a server over stdio that is ready at once.

    python mcp_tools_plain.py [--end MESSAGE]

Importing the library takes 0.6 s. Tests of our own side need only the messages.
"""

import json
import os
import sys


def tool(name, description, **arguments):
    schema = {"type": "object", "properties": {each: {"type": kind} for each, kind in arguments.items()}}
    return {"name": name, "description": description, "inputSchema": schema | {"required": [*arguments]}}


TOOLS = [
    tool("add", "Add two numbers.", a="integer", b="integer"),
    tool("fail", "It always fails.", reason="string"),
    tool("die", "End the process."),
    tool("process", "Number of this process, and what it finds in its environment."),
]


def call(name, arguments):
    if name == "add":
        return str(arguments["a"] + arguments["b"])
    if name == "fail":
        return arguments["reason"]
    if name == "die":
        print("out of memory", file=sys.stderr, flush=True)
        os._exit(3)
    return f"{os.getpid()} {os.environ.get('GREETING')} {os.environ.get('SECRET')}"


def answer(method, params):
    if method == "initialize":
        server = {"name": "things", "version": "1"}
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": server}
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        text = call(params["name"], params["arguments"])
        return {"content": [{"type": "text", "text": text}], "isError": params["name"] == "fail"}
    return None


def main():
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        result = answer(message["method"], message.get("params"))
        reply = {"error": {"code": -32601, "message": "no such method"}} if result is None else {"result": result}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--end"]:
        sys.exit(sys.argv[2])
    main()
