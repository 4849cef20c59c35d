"""What a person can put right in the engine room: one sentence, no traceback."""


class EngineError(Exception):
    """A network cannot be exported, loaded, run or trusted.

    The message is one sentence that says what is wrong, where, and how to fix it; the command line prints it and
    exits with code 2.
    """


def printable(text: str) -> str:
    """Text from outside, fit for a sentence on a terminal: what would end the line or control the terminal is replaced by "�"."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "�" for sign in text)


def reason(error: BaseException) -> str:
    """The first line of another library's error, short enough to quote inside a sentence."""
    lines = str(error).strip().splitlines()
    text = printable(lines[0].strip().rstrip(".:")) if lines else type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
