"""script/bench: pgtandem and its peers, side by side on the same data.

    __main__     options, the order of things
    rounds       who comes when; a contestant that fails must not stop the rest
    rig          the two servers, databases made from templates, saved states
    replicators  the contestants that keep a copy in step: pgtandem, Bucardo, native replication
    load         pgbench and bulk statements, the probe that sees when a row has arrived
    processes    memory and CPU time of processes, read from /proc
    writers      clients that write without end, for the switchover
    report       figures: medians, ratios, tables, JSON, Markdown
    targets      what the project wants to reach
    scenarios/   one file for each scenario

The servers and the programs are started with tests/lib, as in the integration tests.
"""
