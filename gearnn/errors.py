"""What a person can put right: one sentence, no traceback."""


class UserError(Exception):
    """Something in the user's hands is wrong (data, options, a file, the machine).

    The message is one sentence that says what is wrong, where, and how to fix it; the command line prints it and
    exits with code 2.
    """


class DivergedError(UserError):
    """Training has run away; ``fault`` says how, without what to do about it."""

    def __init__(self, fault: str, advice: str = "lower --optimizer.learning-rate") -> None:
        super().__init__(f"{fault}: {advice}")
        self.fault = fault
