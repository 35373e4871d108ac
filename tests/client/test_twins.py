"""The awaited twins of the client's verbs: which there are, and what a verb in a thread does when it is cancelled."""

from __future__ import annotations

import inspect

from e2b_magic.client import Client

ALONE = {
    # The store, the session or its settings alone: nothing is waited for.
    *(
        "clear_cache",
        "dismiss_job",
        "finished_jobs",
        "get_cache_info",
        "get_cached_results",
        "get_execution",
        "get_execution_history",
        "last_seen_job",
    ),
    *("get_project_info", "get_projects", "use_project", "use_template", "login", "logout", "close"),
    # What others are made of, or that gives something to be awaited.
    *("ask", "begin_command", "in_background", "peek_directory"),
    # A person sits at a terminal, in a thread that waits for nothing else.
    *("run_terminal", "send_input", "resize_terminal", "close_terminal"),
}


def test_every_verb_that_waits_for_a_sandbox_can_be_awaited() -> None:
    """Each has a twin whose name begins with `a` and that takes the same arguments, but for those named here."""
    verbs = {name: verb for name, verb in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    awaited = {name for name, verb in verbs.items() if inspect.iscoroutinefunction(verb)}
    assert {name for name in verbs.keys() - awaited if f"a{name}" not in awaited} == ALONE
    for name in awaited:
        twin, verb = inspect.signature(verbs[name]), inspect.signature(verbs[name[1:]])
        assert (twin.parameters, twin.return_annotation) == (verb.parameters, verb.return_annotation), name
