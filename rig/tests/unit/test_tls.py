"""TLS as a stream: who is let in, and the sentence that everybody else gets."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import RemoteProtocolError
from rig.splitdriver.messages import Complete, Message, Ping, Pong, Refused, Role
from rig.splitdriver.transport.link import Link, SocketStream, refuse
from rig.splitdriver.transport.tls import (
    CHUNK_BYTES,
    MAX_UNREAD_BYTES,
    RECORD_BYTES,
    TlsStream,
    canonical,
    pieces,
)
from rig.tests.harness.certificates import certificates, context, shake_hands, tls_streams
from rig.tests.harness.frames import octets_of

BIG = 3 << 20


def reasons(front: TlsStream, back: TlsStream) -> tuple[str, str]:
    """Let both go on until they have failed; return what each says, empty where it is content."""
    said = {front: "", back: ""}
    for _ in range(5):
        for end in (front, back):
            if said[end]:
                continue
            try:
                if end.advance():
                    end.recv_into(memoryview(bytearray(10)))
            except BlockingIOError:
                continue
            except RemoteProtocolError as error:
                said[end] = str(error)
    front.close()
    back.close()
    return said[front], said[back]


def advance_to_the_end(end: TlsStream) -> None:
    while not end.advance():
        pass


# Who is let in.


def test_each_end_learns_the_names_of_the_other() -> None:
    front, back = shake_hands(*tls_streams())
    assert front.peer_names == ("back", "127.0.0.1")
    assert back.peer_names == ("front",)
    front.close()
    back.close()


def test_it_is_tls_13_and_no_session_is_resumed() -> None:
    front, back = shake_hands(*tls_streams())
    assert front._tls.version() == "TLSv1.3"
    with pytest.raises(BlockingIOError):
        front.recv_into(memoryview(bytearray(10)))
    assert front._tls.session is None or not front._tls.session.has_ticket
    front.close()
    back.close()


def test_a_back_end_of_another_ca_is_not_believed() -> None:
    at_front, at_back = reasons(*tls_streams(back="other/back"))
    assert at_front.startswith("The back end's certificate is of another CA than this end's ca.pem")
    assert at_back.startswith("The front end does not accept this machine's certificate: it is of")


def test_a_front_end_of_another_ca_is_not_let_in() -> None:
    ours, theirs = socket.socketpair()
    outsider = context("other/front", Role.FRONT)
    outsider.load_verify_locations(certificates() / "ca.pem")
    at_front, at_back = reasons(
        TlsStream(ours, outsider, Role.FRONT),
        TlsStream(theirs, context("back", Role.BACK), Role.BACK),
    )
    assert at_back.startswith("The front end's certificate is of another CA than this end's ca.pem")
    assert at_front.startswith("The back end does not accept this machine's certificate: it is of")


def test_an_expired_front_end_is_not_let_in_and_both_are_told_the_mend() -> None:
    at_front, at_back = reasons(*tls_streams(front="expired"))
    assert at_back.startswith("The front end's certificate has expired. Renew it")
    assert at_front.startswith("The back end does not accept this machine's certificate: it has")
    assert "--renew" in at_front


def test_an_expired_back_end_is_not_believed() -> None:
    at_front, at_back = reasons(*tls_streams(back="expired"))
    assert at_front.startswith("The back end's certificate has expired. Renew it")
    assert "it has expired. Renew it" in at_back


def test_a_certificate_of_the_future_speaks_of_clocks() -> None:
    at_front, at_back = reasons(*tls_streams(front="early"))
    assert at_back.startswith("The front end's certificate is not valid yet. Compare the clocks")
    assert "Compare the clocks" in at_front


def test_a_front_end_without_a_certificate_is_not_let_in() -> None:
    ours, theirs = socket.socketpair()
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.load_verify_locations(certificates() / "ca.pem")
    at_front, at_back = reasons(
        TlsStream(ours, bare, Role.FRONT),
        TlsStream(theirs, context("back", Role.BACK), Role.BACK),
    )
    assert at_back == "The front end showed no certificate. Start it with --certs."
    assert "none was shown" in at_front


def test_older_tls_is_refused() -> None:
    ours, theirs = socket.socketpair()
    old = context("front", Role.FRONT)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    at_front, at_back = reasons(
        TlsStream(ours, old, Role.FRONT), TlsStream(theirs, context("back", Role.BACK), Role.BACK)
    )
    assert at_back.startswith("The front end does not speak TLS 1.3.")
    assert at_front.startswith("The back end does not speak TLS 1.3.")


def test_who_was_turned_away_hears_why_although_his_own_words_come_back() -> None:
    """The alert has come, and the connection is gone, before he looks for either."""
    front, back = tls_streams(front="expired")
    while not front.advance():
        with suppress(RemoteProtocolError):
            back.advance()
    with pytest.raises(RemoteProtocolError, match="certificate has expired"):
        advance_to_the_end(back)
    back.close()
    with pytest.raises(RemoteProtocolError, match="does not accept this machine's certificate: it"):
        front.sendmsg([b"hello"])
    front.close()


def test_a_link_that_breaks_without_a_word_is_a_broken_link() -> None:
    front, back = shake_hands(*tls_streams())
    back._socket.close()
    with pytest.raises(ConnectionError):
        front.sendmsg([b"hello"])
    front.close()


def test_closing_a_link_that_broke_says_nothing() -> None:
    """The other end said goodbye and is gone; ours cannot be said any more."""
    front, back = shake_hands(*tls_streams())
    back.sendmsg([b"last words"])
    back.close()
    assert Link(front).backlog_bytes == 0
    with pytest.raises(ConnectionError):
        front.sendmsg([b"hello"])
    front.close()
    refuse(front, "Too late.")
    assert front.fileno() == -1


# Who speaks no TLS.


def test_a_plain_front_end_is_noticed_by_its_first_octet() -> None:
    plain, theirs = socket.socketpair()
    back = TlsStream(theirs, context("back", Role.BACK), Role.BACK)
    plain.sendall(octets_of([Ping(1)]))
    with pytest.raises(RemoteProtocolError, match=r"front end does not speak TLS.*both with"):
        back.advance()
    plain.close()
    back.close()


def test_a_plain_end_notices_that_the_other_speaks_tls() -> None:
    plain, theirs = socket.socketpair()
    front = TlsStream(theirs, context("front", Role.FRONT), Role.FRONT)
    assert not front.advance()
    link = Link(SocketStream(plain))
    with pytest.raises(RemoteProtocolError, match=r"other end speaks TLS, .* both without"):
        link.receive()
    link.send([Refused("No TLS here.")])
    with pytest.raises(RemoteProtocolError, match="back end does not speak TLS"):
        front.advance()
    link.close()
    front.close()


@given(st.binary(min_size=1, max_size=300))
@settings(deadline=None)
def test_whatever_comes_first_is_no_crash(octets: bytes) -> None:
    plain, theirs = socket.socketpair()
    back = TlsStream(theirs, context("back", Role.BACK), Role.BACK)
    with plain:
        plain.sendall(octets)
    with pytest.raises((RemoteProtocolError, ConnectionError)):
        advance_to_the_end(back)
    back.close()


@given(st.integers(0, 1), st.integers(0, 3000), st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_a_handshake_that_was_changed_on_the_way_is_no_crash(
    direction: int, place: int, change: int
) -> None:
    """Nor does it hang: each end is content, waits for more, or says a sentence."""
    ends, relay = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    front = TlsStream(ends[0], context("front", Role.FRONT), Role.FRONT)
    back = TlsStream(ends[1], context("back", Role.BACK), Role.BACK)
    passed = [0, 0]
    for _ in range(6):
        for end in (front, back):
            with suppress(RemoteProtocolError, ConnectionError):
                end.advance()
        for one in (0, 1):
            relay[one].setblocking(False)
            with suppress(BlockingIOError):
                octets = bytearray(relay[one].recv(1 << 16))
                if one == direction and 0 <= place - passed[one] < len(octets):
                    octets[place - passed[one]] ^= change
                passed[one] += len(octets)
                relay[1 - one].send(octets)
    assert passed[0]
    for each in (front, back, *relay):
        each.close()


def test_who_hangs_up_in_the_handshake_is_told_of() -> None:
    front, back = tls_streams()
    front.advance()
    front._socket.close()
    with pytest.raises((RemoteProtocolError, ConnectionError)):
        advance_to_the_end(back)
    back.close()


# The stream.


def test_octets_that_came_with_the_end_of_the_handshake_are_pending() -> None:
    front, back = tls_streams()
    while not front.advance():
        back.advance()
    early = Link(front)
    early.send([Ping(1)])
    assert back.advance()
    assert back.pending()
    assert Link(back).receive() == [Ping(1)]
    front.close()
    back.close()


def test_a_small_read_leaves_the_rest_pending_and_reads_nothing_more() -> None:
    front, back = shake_hands(*tls_streams())
    front.sendmsg([bytes(range(100))])
    room = memoryview(bytearray(40))
    assert [back.recv_into(room), back.pending()] == [40, True]
    front.sendmsg([b"later"])
    assert [back.recv_into(room), back.pending()] == [40, True]
    assert [back.recv_into(room), back.pending()] == [20, False]
    assert bytes(room[:20]) == bytes(range(80, 100))
    assert back.recv_into(room) == 5
    front.close()
    back.close()


def test_a_changed_octet_ends_the_link_after_what_came_before_it() -> None:
    front, back = shake_hands(*tls_streams())
    front.sendmsg([b"good"])
    front._encrypt(b"bad")
    record = bytearray(front._outgoing.read())
    record[-1] ^= 1
    front._socket.sendall(record)
    room = memoryview(bytearray(100))
    assert back.recv_into(room) == 4
    assert not back.pending()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=r"TLS with the front end failed: .*between"):
            back.recv_into(room)
    front.close()
    back.close()


def test_what_follows_a_goodbye_is_not_read() -> None:
    front, back = shake_hands(*tls_streams())
    front.sendmsg([b"last"])
    with pytest.raises(ssl.SSLWantReadError):
        front._tls.unwrap()
    front._push()
    front._socket.sendall(bytes(1000))
    room = memoryview(bytearray(100))
    assert back.recv_into(room) == 4
    assert not back.pending()
    assert back.recv_into(room) == 0
    front.close()
    back.close()


def test_a_link_that_was_cut_without_a_goodbye_ends_likewise() -> None:
    front, back = shake_hands(*tls_streams())
    front._socket.close()
    with pytest.raises(RemoteProtocolError, match="closed the link"):
        Link(back).receive()
    back.close()


def test_octets_count_as_taken_only_when_they_have_gone() -> None:
    """Else nobody would wait for room, and they would never go."""
    front, back = shake_hands(*tls_streams())
    link = Link(front)
    link.send([Complete(1, 1, 0, BIG, data=bytes(BIG))])
    assert link.waits_for_room
    assert front._unsent
    assert len(front._unsent) <= CHUNK_BYTES + MAX_UNREAD_BYTES
    other = Link(back)
    seen: list[Message] = []
    while link.waits_for_room:
        seen += other.receive()
        link.flush()
    assert not front._unsent
    front.close()
    back.close()


def test_a_reply_of_openssl_goes_with_the_next_octets() -> None:
    front, back = shake_hands(*tls_streams())
    # What a KeyUpdate's answer would be: octets of OpenSSL's own, that were not asked for.
    front._encrypt(b"own")
    assert front.sendmsg([b"ours"]) == 4
    room = memoryview(bytearray(100))
    count = back.recv_into(room)
    assert bytes(room[:count]) == b"ownours"
    front.close()
    back.close()


def test_an_end_that_lets_replies_pile_up_is_cut_off() -> None:
    front, back = shake_hands(*tls_streams())
    back.sendmsg([b"x"])
    filler = bytes(1 << 20)
    try:
        while True:
            front._socket.send(filler)
    except BlockingIOError:
        pass
    front._encrypt(bytes(CHUNK_BYTES + MAX_UNREAD_BYTES))
    with pytest.raises(RemoteProtocolError, match="does not read them"):
        front.recv_into(memoryview(bytearray(10)))
    front.close()
    back.close()


# Records.


@given(st.lists(st.integers(0, 3 * RECORD_BYTES), max_size=8), st.booleans())
@settings(deadline=None)
def test_pieces_are_what_was_given_in_records_that_are_full(sizes: list[int], huge: bool) -> None:
    parts = [os.urandom(size) for size in sizes]
    if huge:
        parts.insert(len(parts) // 2, os.urandom(2 * CHUNK_BYTES + 77))
    cut = [bytes(piece) for piece in pieces(parts)]
    assert b"".join(cut) == b"".join(parts)
    assert all(0 < len(piece) <= CHUNK_BYTES for piece in cut)
    assert all(len(piece) % RECORD_BYTES == 0 for piece in cut[:-1])


def test_large_data_is_copied_at_its_ends_alone() -> None:
    data = bytearray(8 * RECORD_BYTES)
    cut = list(pieces([b"head", data]))
    views = [piece for piece in cut if isinstance(piece, memoryview) and piece.obj is data]
    assert sum(map(len, views)) >= 7 * RECORD_BYTES


def test_a_message_and_its_data_share_a_record() -> None:
    front, back = shake_hands(*tls_streams())
    front.sendmsg([b"head", b"data" * 100])
    record = back._socket.recv(1 << 16)
    assert int.from_bytes(record[3:5], "big") == len(record) - 5
    front.close()
    back.close()


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("Back", "back"),
        ("back.example.", "back.example"),
        ("10.77.0.1", "10.77.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_a_name_is_compared_in_one_form(name: str, one: str) -> None:
    assert canonical(name) == one


def test_greetings_cross_over_tls() -> None:
    front, back = map(Link, shake_hands(*tls_streams()))
    front.send([Ping(1)])
    back.send([Pong(1)])
    assert front.receive() == [Pong(1)]
    assert back.receive() == [Ping(1)]
    front.close()
    back.close()
