"""Handlers of an administrator's kit. Sessions with a server are tested in the tests of the repository."""

import json

import pytest

from nvflare.fuel.flare_api.api_spec import InternalError, NoConnection
from nvflare.fuel.flare_api.flare_api import new_secure_session
from nvflare.fuel.flare_api.session_events import SessionEvents
from nvflare.fuel.hci.client.event import EventContext, EventHandler, EventPropKey, EventType

seen = []


class Noting(EventHandler):
    def __init__(self, word: str = "") -> None:
        self.word = word

    def handle_event(self, event_type: str, ctx: EventContext) -> None:
        seen.append((self.word, event_type, ctx.get_prop(EventPropKey.USER_NAME), ctx.get_prop(EventPropKey.MSG)))
        ctx.set_custom_prop(self.word, ctx.get_custom_prop("first", "none"))


@pytest.fixture
def kit(tmp_path):
    (tmp_path / "local").mkdir()
    seen.clear()
    return tmp_path


def write(kit, *entries) -> str:
    (kit / "local" / "resources.json").write_text(json.dumps({"handlers": list(entries)}))
    return str(kit)


def entry(word, **more):
    return {"id": word, "path": f"{__name__}.Noting", "args": {"word": word}, **more}


def test_handlers_hear_of_events_in_their_order_and_share_properties(kit):
    folder = write(kit, entry("first"), entry("second"), entry("third", disabled=True))
    props = SessionEvents(None, folder, "ann").fire(EventType.BEFORE_EXECUTE_CMD, cmd_name="submit_job")
    assert props == {"first": "none", "second": "none"}
    assert [each[:3] for each in seen] == [
        ("first", "before_execute_cmd", "ann"),
        ("second", "before_execute_cmd", "ann"),
    ]


def test_a_login_that_fails_is_an_event(kit):
    pytest.importorskip("flare_deploy")
    with pytest.raises(NoConnection):
        new_secure_session("ann", write(kit, entry("first")))
    assert [each[1] for each in seen] == ["before_login", "login_failure"]
    assert "kit" in seen[1][3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", r"resources\.json is no JSON object"),
        ('{"handlers": {"path": "fractions.Fraction"}}', r"resources\.json: 'handlers' is .*; write a list of objects"),
        ('{"handlers": ["fractions.Fraction"]}', r"resources\.json: 'handlers' is .*; write a list of objects"),
        ('{"handlers": [{"path": "fractions.Fraction", "args": [1]}]}', r"Fraction are \[1\]; write an object"),
        ('{"handlers": [{"path": "fractions.Fraction"}]}', "is a Fraction, no EventHandler"),
        ('{"handlers": [{"path": "no_such_module.Handler"}]}', "cannot import 'no_such_module'"),
    ],
)
def test_handlers_that_cannot_be_made_are_errors(kit, content, words):
    (kit / "local" / "resources.json").write_text(content)
    with pytest.raises(InternalError, match=words):
        SessionEvents(None, str(kit), "ann")


def test_a_kit_without_handlers_fires_nothing(kit):
    assert SessionEvents(None, str(kit), "ann").fire(EventType.LOGIN_SUCCESS) == {}
