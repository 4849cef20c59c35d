"""What kernels refuse to do."""


class KernelError(Exception):
    """A back end that was asked for cannot run here; the message is one sentence with the reason and the cure."""
