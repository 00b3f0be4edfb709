"""Contestants that keep a copy in step. Each has the same few verbs:

    attach()      captures on the source and has an equal copy on the target, while nobody writes;
                  afterwards its consumer is stopped
    start()       starts the consumer, and returns at once
    stop()        stops it; what is captured is kept
    detach()      ends everything, before the database is dropped
    processes()   {kind: [process id]} of what it runs, for memory and CPU time
    more_clusters servers of its own that belong to a saved state

`name` is what the tables show. A scenario says which of them it has: all(rig, names).
"""

from .bucardo import Bucardo
from .native import Native
from .nothing import Nothing
from .service import TandemService
from .tandem import Tandem

ALL = (Nothing, Tandem, TandemService, Bucardo, Native)


def names():
    return [each.name for each in ALL]


def chosen(rig, wanted):
    """Those of the names `wanted` that the user has not left out, made for this rig."""
    only = rig.options.only
    return [
        each(rig)
        for each in ALL
        if each.name in wanted and (not only or each.name in only or each is Nothing)
    ]


def end_all():
    """Whatever happened: no daemon is left (servers and pgtandem see to that by themselves)."""
    Bucardo.end_daemon()
