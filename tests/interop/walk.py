"""Our client walks through a workshop and writes down what it sees, as the peers' clients do."""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Sequence

from tests.interop.running import Seen
from trunkline import Client, ToolError
from trunkline.client.inputs import ElicitRequest, SampleRequest
from trunkline.client.reports import LogMessage
from trunkline.errors import RemoteError
from trunkline.protocol.revisions import Era

SECONDS = 15.0
ANSWERS: dict[str, object] = {"name": "Ada", "city": "Paris", "size": 42}


async def walk(target: str | Sequence[str], key: str, era: Era | None = None) -> Seen:
    """Connect, look at everything once, and tell."""
    walker = Walker(key)
    client = Client(
        target,
        era=era,
        timeout=SECONDS,
        elicit=walker.elicited,
        sample=sampled,
        roots=[{"uri": "file:///home/ada", "name": "home"}],
        log=walker.logged,
    )
    async with client:
        await walker.introduce(client)
        await walker.use_tools(client)
        await walker.answer(client)
        await walker.use_resources(client)
        await walker.use_prompts(client)
        await walker.step("cancel", walker.cancel(client))
        await walker.step("listen", walker.listen(client))
        await walker.step("after", text(client, "echo", text="still here"))
    return walker.seen


class Walker:
    """One walk: what was seen, asked and logged on it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.seen: Seen = {}
        self.questions: list[object] = []
        self.logs: list[object] = []

    async def step(self, name: str, doing: Awaitable[object]) -> None:
        """Record what a step gives, or how it fails; the next one runs in any case."""
        try:
            self.seen[name] = await asyncio.wait_for(doing, SECONDS)
        except RemoteError as error:
            self.seen[name] = {"code": error.remote_code, "message": error.message, "data": error.data}
        except Exception as error:
            self.seen[name] = {"exception": f"{type(error).__name__}: {error}"}

    def elicited(self, request: ElicitRequest) -> dict[str, object] | None:
        properties = request.schema["properties"]
        assert isinstance(properties, dict)
        (field,) = properties
        self.questions.append([request.message, [field]])
        return {field: ANSWERS[field]} if field in ANSWERS else None

    def logged(self, message: LogMessage) -> None:
        self.logs.append([message.level, message.data, message.logger])

    async def introduce(self, client: Client) -> None:
        info = await client.server()
        self.seen["revision"] = info.revision
        self.seen["server"] = [info.name, info.version, info.raw.get("title")]
        self.seen["instructions"] = info.instructions
        self.seen["tools"] = await names(client)
        await self.step("titles", titles(client))
        await self.step("shape", shape(client))

    async def use_tools(self, client: Client) -> None:
        await self.step("echo", text(client, "echo", text="Grüße, 世界 🪚 \u2028"))
        await self.step("add", structured(client))
        await self.step("fail", failure(client, "fail"))
        await self.step("invalid", failure(client, "add", a="two", b=3))
        await self.step("unknown", failure(client, "no_such_tool"))
        await self.step("picture", picture(client))
        await self.step("where", text(client, "where", region="Zürich"))
        await self.step("work", work(client))
        await self.step("chat", self.chat(client))

    async def answer(self, client: Client) -> None:
        await self.step("greet", self.ask(client, "greet"))
        await self.step("confirm", self.ask(client, "confirm"))
        await self.step("order", self.ask(client, "order", key=self.key))
        await self.step("think", text(client, "think", about="wood"))
        await self.step("shelves", text(client, "shelves"))

    async def use_resources(self, client: Client) -> None:
        await self.step("resources", resources(client))
        await self.step("templates", templates(client))
        await self.step("read", read(client, "notes://today"))
        await self.step("blob", read(client, "notes://logo"))
        await self.step("read_template", read(client, "notes://day/sun%20day"))
        await self.step("missing", read(client, "notes://nowhere"))

    async def use_prompts(self, client: Client) -> None:
        await self.step("prompts", prompts(client))
        await self.step("prompt", prompt(client))
        await self.step("complete", complete(client))

    async def chat(self, client: Client) -> list[object]:
        await client.call("chat")
        return self.logs

    async def ask(self, client: Client, tool: str, **arguments: object) -> list[object]:
        self.questions.clear()
        answer = await text(client, tool, **arguments)
        return [answer, list(self.questions)]

    async def cancel(self, client: Client) -> str:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.call("wait", key=self.key), 0.4)
        for _ in range(100):
            if await text(client, "outcome", key=self.key) == "cancelled":
                break
            await asyncio.sleep(0.05)
        return await text(client, "outcome", key=self.key)

    async def listen(self, client: Client) -> list[object]:
        """Hear of a new tool, of one that went, and of a resource, in this order."""
        name = f"extra-{self.key}"
        heard: asyncio.Queue[str] = asyncio.Queue()
        hearing = asyncio.create_task(hear(client, heard))
        try:
            while heard.empty():  # until the subscription is there
                await client.call("touch", uri="notes://today")
                await asyncio.wait([hearing], timeout=0.05)
                if hearing.done():
                    await hearing
            await client.call("grow", name=name)
            changes = [await other_than("notes://today", heard)]
            grown = name in await names(client)
            says = await text(client, name)
            await client.call("shrink", name=name)
            changes.append(await other_than("notes://today", heard))
            shrunk = name not in await names(client)
            await client.call("touch", uri="notes://today")
            changes.append(await heard.get())
        finally:
            hearing.cancel()
        return [changes, grown, says.replace(name, "new"), shrunk]


async def hear(client: Client, heard: asyncio.Queue[str]) -> None:
    async for change in client.listen("notes://today", tools=True):
        heard.put_nowait(change.uri or change.kind)


async def other_than(what: str, heard: asyncio.Queue[str]) -> str:
    """The next that is heard, but for what the wait for the subscription made."""
    while (change := await heard.get()) == what:
        pass
    return change


def sampled(request: SampleRequest) -> dict[str, object]:
    content = request.messages[-1]["content"]
    block = content[0] if isinstance(content, list) else content
    assert isinstance(block, dict)
    answer = {"type": "text", "text": f"{block['text']}, at most {request.max_tokens}"}
    return {"role": "assistant", "content": answer, "model": "tiny"}


async def text(client: Client, tool: str, **arguments: object) -> str:
    return (await client.call(tool, arguments)).text


async def names(client: Client) -> list[str]:
    return sorted([tool.name for tool in await client.tools()])


async def titles(client: Client) -> list[object]:
    tool = next(tool for tool in await client.tools() if tool.name == "echo")
    return [tool.title, tool.description, tool.annotations and tool.annotations.read_only_hint]


async def shape(client: Client) -> dict[str, object]:
    tool = next(tool for tool in await client.tools() if tool.name == "add")
    assert tool.output_schema is not None
    sides = {"in": tool.input_schema["properties"], "out": tool.output_schema["properties"]}
    return {side: sorted(fields) for side, fields in sides.items() if isinstance(fields, dict)}


async def structured(client: Client) -> list[object]:
    result = await client.call("add", a=2, b=3)
    return [result.structured, result.text, result.is_error]


async def failure(client: Client, tool: str, **arguments: object) -> list[object]:
    try:
        return [False, (await client.call(tool, arguments)).text]
    except ToolError as error:
        return [True, str(error)]


async def picture(client: Client) -> list[object]:
    caption, image = (await client.call("picture")).content
    assert image.data is not None
    return [caption.text, image.type, image.mime_type, base64.b64encode(image.data).decode()]


async def work(client: Client) -> list[object]:
    progress: list[object] = []
    await client.call("work", steps=3, progress=lambda *report: progress.append(list(report)))
    return progress


async def read(client: Client, uri: str) -> list[object]:
    (contents,) = (await client.read(uri)).contents
    data = contents.text if contents.blob is None else base64.b64encode(contents.blob).decode()
    return [contents.uri, contents.mime_type, data]


async def resources(client: Client) -> list[str]:
    return sorted([resource.uri for resource in await client.resources()])


async def templates(client: Client) -> list[str]:
    return sorted([template.uri_template for template in await client.templates()])


async def prompts(client: Client) -> list[object]:
    return [
        [prompt.name, prompt.title, [[argument.name, argument.required] for argument in prompt.arguments]]
        for prompt in await client.prompts()
    ]


async def prompt(client: Client) -> list[object]:
    got = await client.prompt("review", code="x = 1", language="rust")
    return [[message.role, message.content.text] for message in got.messages]


async def complete(client: Client) -> list[list[str]]:
    first = await client.complete("language", "p", prompt="review")
    second = await client.complete("day", "t", template="notes://day/{day}")
    return [first.values, second.values]
