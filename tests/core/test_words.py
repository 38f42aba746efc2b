"""What is quoted of a log: the end, in whole lines, and before it the error that the end no longer shows."""

from hypothesis import given
from hypothesis import strategies as st

from skerry.core.words import in_short, last_words, told_of, with_words

GUNICORN = """\
  File "/app/app.py", line 24
    def broken(:
SyntaxError: invalid syntax
invalid syntax (app.py, line 24)
[2026-11-26 21:43:42 +0000] [2] [INFO] Worker exiting (pid: 2)
[2026-11-26 21:43:42 +0000] [1] [ERROR] Worker (pid:2) exited with code 3.
[2026-11-26 21:43:42 +0000] [1] [ERROR] Shutting down: Master
[2026-11-26 21:43:42 +0000] [1] [ERROR] Reason: Worker failed to boot.
"""


def test_the_error_of_a_worker_is_quoted_before_the_last_words_of_its_server():
    assert last_words(GUNICORN, 120) == (
        "SyntaxError: invalid syntax / … [2026-11-26 21:43:42 +0000] [1] [ERROR] Reason: Worker failed to boot."
    )


def test_an_error_near_the_end_is_in_the_end():
    log = "Traceback (most recent call last):\n" + "x" * 200 + "\nKeyError: 'REDIS_URL'\n"
    assert last_words(log, 120) == "… KeyError: 'REDIS_URL'"
    assert last_words("one\ntwo\n", 120) == "one / two"


def test_a_line_without_room_is_quoted_by_its_end_and_an_error_by_its_beginning():
    assert last_words("x" * 500 + " the end", 50) == "… " + "x" * 42 + " the end"
    told = last_words(f"ValueError: {'y' * 500}\n" + "one\ntwo\nbye\n", 40)
    assert told == f"ValueError: {'y' * 8}… / one / two / bye"


def test_without_a_log_how_it_ended_is_all():
    assert with_words("ended with exit code 3", " \n", 120) == "ended with exit code 3"
    assert with_words("ended with exit code 3", "no\n", 120) == "ended with exit code 3; its last words: no"


@given(st.lists(st.text(max_size=80), max_size=12), st.integers(100, 300))
def test_no_log_makes_it_much_longer_than_asked_for(lines, most):
    assert len(last_words("\n".join(lines), most)) <= most + 50


def test_what_steers_a_terminal_is_left_out():
    log = "\x1b[31;1mKeyError: 'URL'\x1b[0m\n\x1b]0;a title\x07\x1b[2Jgone\x08\x9b\n\x1b(B\n"
    assert last_words(log, 120) == "KeyError: 'URL' / gone"


@given(log=st.text(alphabet=st.characters(max_codepoint=0x2FF)), most=st.integers(0, 200))
def test_no_control_character_is_quoted_of_whatever_log(log: str, most: int):
    assert last_words(log, most).isprintable() or not any(
        c < " " or "\x7f" <= c <= "\x9f" for c in last_words(log, most)
    )


def test_what_is_said_over_and_over_is_quoted_once():
    assert last_words("starting\n" + "KeyError: 'URL'\n" * 9 + "bye\n", 120) == "starting / KeyError: 'URL' / bye"


def test_hosts_that_tell_the_same_are_named_together():
    why = with_words("ended with exit code 7", "no such table", 120)
    assert told_of({"vps-2": why, "vps-1": why, "vps-3": "no room"}) == f"vps-1, vps-2: {why}; vps-3: no room"
    assert in_short(why) == "ended with exit code 7" and in_short("no room") == "no room"
