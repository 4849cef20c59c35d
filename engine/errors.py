"""What a person can put right in the engine room: one sentence, no traceback."""


class EngineError(Exception):
    """A network cannot be exported, loaded, run or trusted.

    The message is one sentence that says what is wrong, where, and how to fix it; the command line prints it and
    exits with code 2.
    """


def reason(error: BaseException) -> str:
    """The first line of another library's error, short enough to quote inside a sentence."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip().rstrip(".:") if lines else type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"
