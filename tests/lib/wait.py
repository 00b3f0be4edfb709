"""Waiting for something that happens elsewhere: polling with a deadline, never a bare sleep."""

import time


def poll_until(condition, timeout=30.0, what=None, interval=0.02):
    """Calls `condition` until it returns something true, and returns that.

    Raises TimeoutError after `timeout` seconds; `what` (a text, or a function that makes one)
    says what was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            text = what() if callable(what) else what
            text = text or getattr(condition, "__name__", "condition")
            raise TimeoutError(f"after {timeout:g} s still waiting for: {text}")
        time.sleep(interval)
