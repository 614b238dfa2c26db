"""What users are told beside results."""

from detinv.inputs.notes import say_once


def test_a_note_is_said_once_and_can_be_printed(caplog):
    for _ in range(3):
        say_once("a\x1b[31m.json: something of this test is left out")
        say_once("b.json: something of this test is left out")
    assert caplog.messages == [
        r"detinv: a\x1b[31m.json: something of this test is left out",
        "detinv: b.json: something of this test is left out",
    ]
