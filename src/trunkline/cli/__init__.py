"""The `trunkline` command: arguments in, one command module run; everything heavy is imported by the command itself."""

import importlib
import sys
from collections.abc import Sequence

from trunkline.cli.arguments import parser
from trunkline.errors import ConfigError, TrunklineError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 it failed, 2 it was called or configured wrongly, 130 interrupted.
    """
    parse = parser()
    parsed, rest = parse.parse_known_args(arguments)
    # argparse gives up on key=value arguments that stand behind an option; they mean the same there.
    pairs = [] if any(word.startswith("-") for word in rest) else rest
    if rest and not (pairs and isinstance(getattr(parsed, "pairs", None), list)):
        parse.error(f"unrecognized arguments: {' '.join(rest)}")
    if pairs:
        parsed.pairs = [*parsed.pairs, *pairs]
    if parsed.module is None:
        parse.print_help()
        return 0
    parsed.words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code: int = importlib.import_module(f"trunkline.cli.{parsed.module}").run(parsed)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1
    except ConfigError as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 2
    except TrunklineError as error:
        print(f"trunkline: {error}", file=sys.stderr)
        return 1
    return code
