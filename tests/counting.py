"""Counts what a piece of work costs, where timing it would say more about the machine."""

import asyncio


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts what a request asks of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def create_task(self, *args: object, **options: object) -> asyncio.Task[object]:
        self.made.append("task")
        return super().create_task(*args, **options)

    def create_future(self) -> asyncio.Future[object]:
        self.made.append("future")
        return super().create_future()

    def call_at(self, *args: object, **options: object) -> asyncio.TimerHandle:
        self.made.append("timer")
        return super().call_at(*args, **options)
