"""Tools and a prompt that ask the client, as the suite's scenarios name them: each is written once for both eras."""

from trunkline import Context, Server
from trunkline.engine.context import ROOTS, elicitation, sampling
from trunkline.engine.doors import InputRequest

NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CONFIRM = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
    "required": [],
}
TITLED = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)]
OPTIONS = ["option1", "option2", "option3"]
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": OPTIONS},
        "titledSingle": {"type": "string", "oneOf": TITLED},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["One", "Two", "Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
    },
    "required": [],
}


def add_to(server: Server) -> None:
    """Register them all."""
    _sampling(server)
    _elicitation(server)
    _single(server)
    _several(server)
    _sealed(server)


def _sampling(server: Server) -> None:
    @server.tool
    async def test_sampling(prompt: str, context: Context) -> str:
        """Ask the client's model."""
        return f"LLM response: {await context.sample(prompt, max_tokens=100)}"

    @server.tool
    async def test_missing_capability(context: Context) -> str:
        """Need a capability which the client may not have."""
        return f"LLM response: {await context.sample('Say hello', max_tokens=10)}"


def _elicitation(server: Server) -> None:
    @server.tool
    async def test_elicitation(message: str, context: Context) -> str:
        """Ask for a user name and an address."""
        fields = {"username": {"type": "string"}, "email": {"type": "string", "format": "email"}}
        answer = await context.elicit(message, {"type": "object", "properties": fields, "required": list(fields)})
        return f"User response: {answer.action}, {answer.content}"

    @server.tool
    async def test_elicitation_sep1034_defaults(context: Context) -> str:
        """Ask with a form whose every field has a default."""
        answer = await context.elicit("Please review and update the form fields with defaults", DEFAULTS)
        return f"Elicitation completed: action={answer.action}, content={answer.content}"

    @server.tool
    async def test_elicitation_sep1330_enums(context: Context) -> str:
        """Ask with a form of every kind of choice."""
        answer = await context.elicit("Please select options from the enum fields", ENUMS)
        return f"Elicitation completed: action={answer.action}, content={answer.content}"

    @server.tool
    async def test_streaming_elicitation(context: Context) -> str:
        """Ask while an answer may be streaming."""
        answer = await context.elicit("What is your name?", NAME)
        return f"User response: {answer.action}"


def _single(server: Server) -> None:
    @server.tool
    async def test_input_required_result_elicitation(context: Context) -> str:
        """Greet the person by name."""
        answer = await context.elicit("What is your name?", NAME, key="user_name")
        return f"Hello, {answer.content.get('name', 'stranger')}!"

    @server.tool
    async def test_input_required_result_sampling(context: Context) -> str:
        """Let the model name a capital."""
        return f"{await context.sample('What is the capital of France?', max_tokens=100, key='capital_question')}"

    @server.tool
    async def test_input_required_result_list_roots(context: Context) -> str:
        """Ask for the roots."""
        roots = await context.roots(key="client_roots")
        return f"Roots: {', '.join(str(root['uri']) for root in roots)}"

    @server.prompt
    async def test_input_required_result_prompt(context: Context) -> str:
        """A prompt that needs to know what it is about."""
        fields = {"type": "object", "properties": {"context": {"type": "string"}}, "required": ["context"]}
        answer = await context.elicit("What context should the prompt use?", fields, key="user_context")
        return f"Use this context: {answer.content.get('context', 'none')}"


def _several(server: Server) -> None:
    @server.tool
    async def test_input_required_result_multiple_inputs(context: Context) -> str:
        """Ask three things of three kinds at once."""
        answers = await context.ask(
            {
                "user_name": elicitation("What is your name?", NAME),
                "greeting": sampling("Generate a greeting", max_tokens=50),
                "client_roots": ROOTS,
            }
        )
        return f"All inputs: {answers}"

    @server.tool
    async def test_input_required_result_multi_round(context: Context) -> str:
        """Ask one thing, then another."""
        color = {"type": "object", "properties": {"color": {"type": "string"}}, "required": ["color"]}
        name = await context.elicit("Step 1: What is your name?", NAME, key="step1")
        liked = await context.elicit("Step 2: What is your favorite color?", color, key="step2")
        return f"{name.content.get('name')} likes {liked.content.get('color')}"

    @server.tool
    async def test_input_required_result_capabilities(context: Context) -> str:
        """Ask only what the client declared it can answer."""
        questions: dict[str, InputRequest] = {}
        if context.can("elicitation"):
            questions["user_name"] = elicitation("What is your name?", NAME)
        if context.can("sampling"):
            questions["greeting"] = sampling("Generate a greeting", max_tokens=50)
        if context.can("roots"):
            questions["client_roots"] = ROOTS
        return f"All inputs: {await context.ask(questions)}"


def _sealed(server: Server) -> None:
    @server.tool
    async def test_input_required_result_request_state(context: Context) -> str:
        """Ask, and know the state of the first round in the second."""
        answer = await context.elicit("Please confirm", CONFIRM, key="confirm")
        return f"state-ok: {answer.action}"

    @server.tool
    async def test_input_required_result_tampered_state(context: Context) -> str:
        """Ask, and refuse a state that somebody changed."""
        answer = await context.elicit("Please confirm", CONFIRM, key="confirm")
        return f"state-ok: {answer.action}"
