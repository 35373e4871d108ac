"""The tokens of kernels and previews: one for each who may have one, and none for anybody else."""

from __future__ import annotations

import pytest
from jupyter_server.auth import User

from e2b_magic.server_extension import tokens
from e2b_magic.server_extension.tokens import Ticket, Tokens


def test_a_users_kernels_share_a_token_and_two_users_do_not() -> None:
    """The token names its user, as the newest kernel's start has known that one; a made-up token names nobody."""
    given = Tokens()
    anna = given.for_kernels("anna", User("anna", name="old"))
    assert given.for_kernels("anna", User("anna", name="new")) == anna
    ben = given.for_kernels("ben", User("ben"))
    assert anna != ben
    known = given.user(anna)
    assert known is not None
    assert (known.username, known.name) == ("anna", "new")
    assert given.user(anna[:-1]) is given.user("") is None
    assert anna not in repr(given)
    assert Tokens().user(anna) is None


def test_a_ticket_opens_one_port_of_one_users() -> None:
    """The same place has the same ticket; another port, project or user has another; none opens the worker."""
    given = Tokens()
    user = User("anna")
    places = [
        ("anna", Ticket(user, "web", 1)),
        ("anna", Ticket(user, "web", 2)),
        ("ben", Ticket(User("ben"), "web", 1)),
    ]
    tickets = [given.for_preview(identity, place) for identity, place in places]
    assert len(set(tickets)) == 3
    assert [given.ticket(one) for one in tickets] == [place for _, place in places]
    assert given.for_preview(*places[0]) == tickets[0]
    assert given.user(tickets[0]) is None
    assert given.ticket(given.for_kernels("anna", user)) is None


def test_where_a_server_lives_is_kept_with_its_ticket() -> None:
    """Found to live below the preview's path, or at its root again; nothing else that has a ticket is meant."""
    given = Tokens()
    one, two = (given.for_preview("anna", Ticket(User("anna"), "web", port)) for port in (1, 2))
    given.found(one, at_base=True)
    assert (given.is_at_base(one), given.is_at_base(two)) == (True, False)
    given.found(one, at_base=False)
    assert not given.is_at_base(one)


def test_a_ticket_is_taken_up_by_the_next_process_for_its_own_port_alone() -> None:
    """Who has the same secret knows a token again for the place that it was made for, and no other text for it."""
    anna, place = User("anna"), Ticket(User("anna"), "web", 1)
    token = Tokens(b"secret").for_preview("anna", place)
    changed = ("B" if token[0] != "B" else "C") + token[1:]
    others: list[tuple[Tokens, str, Ticket, str]] = [
        (Tokens(b"another"), "anna", place, token),
        (Tokens(b"secret"), "ben", place, token),
        (Tokens(b"secret"), "anna", Ticket(anna, "web", 2), token),
        (Tokens(b"secret"), "anna", Ticket(anna, "api", 1), token),
        *((Tokens(b"secret"), "anna", place, text) for text in (changed, token[:-1], token[:16], "", "ü" * 40)),
    ]
    for later, identity, ticket, text in others:
        assert not later.take_up(identity, ticket, text)
        assert later.ticket(text) is None
    later = Tokens(b"secret")
    assert not later.has_preview("anna", place)
    assert later.take_up("anna", place, token)
    assert (later.ticket(token), later.for_preview("anna", place)) == (place, token)
    # What the place has is not exchanged for what an earlier process gave it.
    later = Tokens(b"secret")
    newer = later.for_preview("anna", place)
    assert newer != token
    assert later.has_preview("anna", place)
    assert not later.take_up("anna", place, token)
    assert later.for_preview("anna", place) == newer


def test_tickets_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest one ends."""
    monkeypatch.setattr(tokens, "MOST_TICKETS", 3)
    given = Tokens()
    tickets = [given.for_preview("anna", Ticket(User("anna"), "web", port)) for port in range(1, 6)]
    assert [given.ticket(one) is not None for one in tickets] == [False, False, True, True, True]
