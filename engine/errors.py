"""What a person can put right in the engine room: one sentence, no traceback."""


class EngineError(Exception):
    """A network cannot be exported, loaded, run or trusted.

    The message is one sentence that says what is wrong, where, and how to fix it; the command line prints it and
    exits with code 2.
    """
