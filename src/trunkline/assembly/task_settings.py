"""What `tasks` of a server may say, as types, and what it comes to for one tool.

What it is for: one line of a configuration that makes the tools of a server durable.
What may live here: those Structs, and the way from them to a policy. What may not: reading files, tasks themselves.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from trunkline.engine.patterns import matches
from trunkline.extensions.tasks.policy import LOST, Retry, TaskPolicy

_ATTEMPTS = 3
"""Where nothing is said. Only what is safe to send again is, so that more than one harm nobody."""

_Above = Annotated[float, Meta(gt=0)]
_Natural = Annotated[float, Meta(ge=0)]
_Text = Annotated[str, Meta(min_length=1)]


class PolicySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls become tasks, and how those run."""

    mode: Annotated[
        Literal["optional", "required"] | None,
        Meta(
            description="Whether clients that know nothing of tasks are served too. Left out: optional.",
            examples=["required"],
        ),
    ] = None
    trigger: Annotated[
        Literal["at_once", "after_input", "after"] | None,
        Meta(
            description="When a call becomes a task: at once, when its first questions are answered, or when it has "
            "run for `after`. Left out: at_once; with `after`, after.",
            examples=["after_input"],
        ),
    ] = None
    after: Annotated[
        _Above | None,
        Meta(description="Seconds a call runs before it becomes a task. Left out: 5.", examples=[10]),
    ] = None
    attempts: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(description="How often a call is made at most. Left out: 3.", examples=[5]),
    ] = None
    backoff: Annotated[
        _Natural | None,
        Meta(
            description="Seconds before the second attempt at most; doubled for each further one. Left out: 1.",
            examples=[2],
        ),
    ] = None
    longest: Annotated[
        _Natural | None,
        Meta(description="Seconds between two attempts at most. Left out: 60.", examples=[300]),
    ] = None
    deadline: Annotated[
        _Above | None,
        Meta(
            description="Seconds after its creation from which on no attempt begins. Left out: its life.",
            examples=[1800],
        ),
    ] = None
    idempotent: Annotated[
        bool | None,
        Meta(
            description="Whether a call that may have run in part may run again. Left out: as the tool itself says.",
            examples=[True],
        ),
    ] = None
    ttl: Annotated[
        _Above | None, Meta(description="Seconds a task lives from its creation. Left out: 3600.", examples=[86400])
    ] = None
    retention: Annotated[
        _Natural | None,
        Meta(description="Seconds a result stays readable at least. Left out: 3600.", examples=[86400]),
    ] = None
    concurrency: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Tasks of one tool that run at once, over all replicas. Left out: any number.", examples=[2]),
    ] = None
    priority: Annotated[
        Annotated[int, Meta(ge=-1000, le=1000)] | None,
        Meta(description="Tasks with more are run first. Left out: 0.", examples=[10]),
    ] = None
    poll: Annotated[
        _Above | None,
        Meta(description="Seconds a client should wait between two looks. Left out: 1.", examples=[5]),
    ] = None
    wait: Annotated[
        _Natural | None,
        Meta(
            description="Seconds a call of a client that knows nothing of tasks is kept open. Left out: 50.",
            examples=[20],
        ),
    ] = None


class TaskSettings(PolicySettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tools of a server become durable tasks, and how."""

    tools: Annotated[
        tuple[_Text, ...] | None,
        Meta(description="Those that do, by its own names; * is any text. Left out: all.", examples=[["crawl_*"]]),
    ] = None
    overrides: Annotated[
        dict[str, bool | PolicySettings],
        Meta(
            description="Other values for some tools, by name or pattern, of which the first that fits counts; "
            "`false` for one that never is a task.",
            examples=[{"crawl_site": {"attempts": 5}}],
        ),
    ] = {}

    def policy(self, tool: str) -> TaskPolicy | None:
        """How calls of one tool become tasks; None where they do not.

        Parameters:
            tool: by the server's own name.

            TaskSettings(attempts=5).policy("crawl").retry.attempts  # 5
        """
        said = self._override(tool)
        if said is False:
            return None
        if said is None and self.tools is not None and not any(matches(pattern, tool) for pattern in self.tools):
            return None
        return _policy(self, said if isinstance(said, PolicySettings) else PolicySettings())

    def idempotent_tool(self, tool: str, declared: bool) -> bool:
        """Whether a tool may run again although it may have run in part; `declared` is what it says itself."""
        said = self._override(tool)
        own = said.idempotent if isinstance(said, PolicySettings) else None
        wanted = self.idempotent if own is None else own
        return declared if wanted is None else wanted

    def _override(self, tool: str) -> bool | PolicySettings | None:
        if tool in self.overrides:
            return self.overrides[tool]
        return next((own for pattern, own in self.overrides.items() if matches(pattern, tool)), None)


Tasks = bool | TaskSettings


def task_settings(raw: object) -> TaskSettings | None:
    """What a checked value of `tasks` says; None where nothing becomes a task.

    task_settings({"attempts": 5}).attempts  # 5
    """
    said = msgspec.convert(_without_nulls(raw), Tasks)
    if isinstance(said, TaskSettings):
        return said
    return TaskSettings() if said else None


def _policy(all_tools: PolicySettings, one: PolicySettings) -> TaskPolicy:
    said = {
        name: value
        for settings in (all_tools, one)
        for name in PolicySettings.__struct_fields__
        if (value := getattr(settings, name)) is not None
    }
    if "after" in said:
        said.setdefault("trigger", "after")
    retry = {name: said.pop(name) for name in ("attempts", "backoff", "longest", "deadline") if name in said}
    on = (LOST,) if said.pop("idempotent", False) else ()
    return TaskPolicy(**said, retry=Retry(**{"attempts": _ATTEMPTS, **retry}, on=on))


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return value
