"""Tools whose calls become tasks, as the suite's scenarios name them."""

import asyncio

from trunkline import Context, ProtocolError, Server, TaskPolicy, ToolError, elicitation

CONFIRM: dict[str, object] = {
    "type": "object",
    "properties": {"confirm": {"type": "boolean", "title": "Delete it"}},
    "required": ["confirm"],
}
NAME: dict[str, object] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
LIFE = 600.0


def add_to(server: Server) -> None:
    """Register them all."""

    @server.tool
    def greet(name: str) -> str:
        """Greet somebody, at once."""
        return f"Hello, {name}!"

    @server.tool(task=TaskPolicy(ttl=LIFE))
    async def slow_compute(seconds: float, label: str = "") -> str:
        """Take some seconds."""
        await asyncio.sleep(seconds)
        return f"Computed {label} in {seconds:g} seconds"

    @server.tool(task=TaskPolicy(mode="required", ttl=LIFE))
    async def failing_job() -> str:
        """Fail after a second, in a way the model should see."""
        await asyncio.sleep(1)
        raise ToolError("The job failed, as it always does")

    @server.tool(task=TaskPolicy(ttl=LIFE))
    async def protocol_error_job() -> str:
        """Fail with an error of the protocol."""
        raise ProtocolError("The job ended with a protocol error, as it always does")

    _asking(server)


def _asking(server: Server) -> None:
    @server.tool(task=TaskPolicy(ttl=LIFE))
    async def confirm_delete(filename: str, context: Context) -> str:
        """Delete a file when its owner agrees."""
        answer = await context.elicit(f"Delete {filename}?", CONFIRM)
        return f"Deleted {filename}" if answer.content.get("confirm") else f"Kept {filename}"

    @server.tool(task=TaskPolicy(ttl=LIFE))
    async def multi_input(context: Context) -> str:
        """Ask two things at once."""
        answers = await context.ask(
            {"first": elicitation("Who are you?", NAME), "second": elicitation("Are you sure?", CONFIRM)}
        )
        return f"Answered: {', '.join(sorted(answers))}"

    @server.tool(task=TaskPolicy(trigger="after_input", ttl=LIFE))
    async def test_tool_with_task(context: Context) -> str:
        """Ask for a name first; what is done with it is a task."""
        answer = await context.elicit("What is your name?", NAME)
        return f"Hello, {answer.content.get('name')}! The task is done"
