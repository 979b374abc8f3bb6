"""The programs that load raw tables and turn them into analytics tables.

Owns: a narrow warehouse port, the processors over it, the raw loads, and the runner that claims a
run from the coordinator and reports how it ended. Refuses: deciding *when* anything runs; that is
the coordinator's task. Nothing here imports it, except for `coordinator.wire`.
"""
