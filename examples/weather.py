"""A server in ten lines: `trunkline up examples/weather.py`."""

from trunkline import Server

server = Server("weather")


@server.tool
def forecast(city: str, days: int = 1) -> str:
    """Tell the weather of the next days."""
    return f"{city}: sun for {days} day{'s' if days > 1 else ''}"


@server.resource("weather://{city}")
def now(city: str) -> str:
    """The weather in a city right now."""
    return f"{city}: sun"
