"""Texts of others on a terminal.

What it is for: names and texts of files and servers are shown as they are, and do nothing.
What may live here: that. What may not: colours, tables.
"""


def plain(text: str) -> str:
    """A text without characters that are not seen, or that a terminal would obey.

    plain("a\x1b[2J")  # "a\\x1b[2J"
    """
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def distinct(name: str) -> str:
    """A name of someone else, spelled out where its letters may be taken for others.

    distinct("\u0430dd")  # "\u0430dd (\\u0430dd)"
    """
    return plain(name) if name.isascii() else f"{plain(name)} ({ascii(name)[1:-1]})"
