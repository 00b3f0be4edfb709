"""The scenarios by name. Each is a function of the rig and the report that it fills."""

from . import capture, catchup, copy, idle, lag, many, switchover, syncs

ALL = {
    "capture": capture.run,
    "catchup": catchup.run,
    "copy": copy.run,
    "lag": lag.run,
    "switchover": switchover.run,
    "idle": idle.run,
    "syncs": syncs.run,
    "many": many.run,
}

# Contestants that copy only.
OTHERS = copy.NAMES
